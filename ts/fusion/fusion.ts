/**
 * The algebra of structural re-parameterisation, which turns a RepVGG block as trained into the one that runs: section 3.3
 * of "RepVGG: Making VGG-style ConvNets Great Again" (arXiv 2101.03697). docs/fusion.md explains it with numbers.
 *
 * Convolution is linear in its kernel, and batch normalisation with fixed statistics is one scale and one shift per
 * channel. So a sum of normalised branches over the same input is exactly one convolution. Everything is computed in
 * float64 and rounded once, at the end, to the float32 in which networks are stored and run. The loops over kernels are in
 * fuse_rows.ts.
 */
import type {BatchNorm, BranchNorms, Floats} from '../network.ts';

/** The factors by which a block's kernels are multiplied, per output channel, and the bias of their sum. */
export interface BlockFactors {
  dense: Float64Array;
  pointwise: Float64Array;
  identity: Float64Array | null;
  bias: Float32Array;
}

/** The scale of a batch normalisation per channel: gamma / sqrt(variance + eps). */
export function scaleOf({gamma, variance, eps}: BatchNorm): Float64Array {
  return Float64Array.from(gamma, (value, i) => value / Math.sqrt(variance[i]! + eps));
}

/**
 * The bias of a convolution after fusing the batch normalisation that follows it (equation 3 of the paper):
 * beta + (bias - mean) scale. The official convolutions have no bias, but others do.
 */
export function fusedBias({beta, mean}: BatchNorm, scale: Float64Array, bias: Floats | null): Float64Array {
  return scale.map((factor, i) => beta[i]! + ((bias ? bias[i]! : 0) - mean[i]!) * factor);
}

/**
 * The factors that fuse the branches of a block, BN(conv3x3) + BN(conv1x1) + BN(identity), added in the order of the
 * official code. Squeeze-and-excite follows the sum and is unchanged.
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
 * Distributes a batch normalisation of the sum of a block's branches over the branches: with scale s and shift b,
 * s (A + B + C) + b = (s A + b) + s B + s C. So a QARepVGG block (arXiv 2212.01593) becomes exactly a RepVGG block.
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

/** The identity as a batch normalisation. */
export function unitBatchNorm(channels: number): BatchNorm {
  const filled = (value: number): Float32Array => new Float32Array(channels).fill(value);
  return {gamma: filled(1), beta: filled(0), mean: filled(0), variance: filled(1), eps: 0};
}
