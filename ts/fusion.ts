/**
 * The algebra that turns a RepVGG block as trained into the block that runs: "structural re-parameterisation",
 * section 3.3 of "RepVGG: Making VGG-style ConvNets Great Again" (arXiv 2101.03697). docs/fusion.md explains it with
 * numbers.
 *
 * Convolution is linear in its kernel, and batch normalisation with fixed statistics is one scale and one shift per
 * channel. So a sum of normalised branches over the same input is one convolution, exactly. All of it happens in
 * float64, and is rounded to the float32 in which networks are stored and run once, at the very end. What there is to do
 * for each number of a kernel is in fuse_rows.ts.
 */
import type {BatchNorm, BranchNorms, Floats} from './network.ts';

/** What the kernels of a block are multiplied with, per output channel, and the bias of their sum. */
export interface BlockFactors {
  dense: Float64Array;
  pointwise: Float64Array;
  identity: Float64Array | null;
  bias: Float32Array;
}

/** What a batch normalisation multiplies each channel with: gamma / sqrt(variance + eps). */
export function scaleOf({gamma, variance, eps}: BatchNorm): Float64Array {
  return Float64Array.from(gamma, (value, i) => value / Math.sqrt(variance[i]! + eps));
}

/**
 * The bias of a convolution once the batch normalisation behind it is fused into it (equation 3 of the paper):
 * beta + (bias - mean) scale. The official convolutions have none; one that has it, and is fused without it, is off by
 * bias * scale everywhere.
 */
export function fusedBias({beta, mean}: BatchNorm, scale: Float64Array, bias: Floats | null): Float64Array {
  return scale.map((factor, i) => beta[i]! + ((bias ? bias[i]! : 0) - mean[i]!) * factor);
}

/**
 * What fuses the branches of a block, BN(conv3x3) + BN(conv1x1) + BN(identity), in the order of the official code.
 * Squeeze-and-excite comes after the sum and stays what it is.
 */
export function blockFactors({dense, pointwise, identity}: BranchNorms): BlockFactors {
  const scales = {dense: scaleOf(dense.batchNorm), pointwise: scaleOf(pointwise.batchNorm)};
  const identityScale = identity && scaleOf(identity);
  const biases = [
    fusedBias(dense.batchNorm, scales.dense, dense.bias),
    fusedBias(pointwise.batchNorm, scales.pointwise, pointwise.bias),
    ...(identity ? [fusedBias(identity, identityScale!, null)] : []),
  ];
  const bias = new Float32Array(scales.dense.length).map((_, i) =>
    biases.reduce((sum, branch) => sum + branch[i]!, -0),
  );
  return {...scales, identity: identityScale, bias};
}

/**
 * Draws a batch normalisation of the sum of a block's branches into the branches: with s and b its scale and shift,
 * s (A + B + C) + b = (s A + b) + s B + s C. So a block of QARepVGG (arXiv 2212.01593) becomes one of RepVGG, exactly.
 */
export function distributeBatchNorm({dense, pointwise, identity}: BranchNorms, sum: BatchNorm): BranchNorms {
  const scale = scaleOf(sum);
  const shift = fusedBias(sum, scale, null);
  const scaled = (norm: BatchNorm, shift?: Float64Array): BatchNorm => ({
    ...norm,
    gamma: Float64Array.from(norm.gamma, (gamma, i) => gamma * scale[i]!),
    beta: Float64Array.from(norm.beta, (beta, i) => beta * scale[i]! + (shift ? shift[i]! : 0)),
  });
  return {
    dense: {...dense, batchNorm: scaled(dense.batchNorm, shift)},
    pointwise: {...pointwise, batchNorm: scaled(pointwise.batchNorm)},
    identity: identity && scaled(identity),
  };
}

/** The batch normalisation that changes nothing. */
export function unitBatchNorm(channels: number): BatchNorm {
  const filled = (value: number): Float32Array => new Float32Array(channels).fill(value);
  return {gamma: filled(1), beta: filled(0), mean: filled(0), variance: filled(1), eps: 0};
}
