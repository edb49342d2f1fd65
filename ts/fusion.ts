/**
 * The algebra that turns a RepVGG block as trained into the block that runs: "structural re-parameterisation",
 * section 3.3 of "RepVGG: Making VGG-style ConvNets Great Again" (arXiv 2101.03697). docs/fusion.md explains it with
 * numbers.
 *
 * Convolution is linear in its kernel, and batch normalisation with fixed statistics is one scale and one shift per
 * channel. So a sum of normalised branches over the same input is one convolution, exactly. All of it happens in
 * float64; {@link roundToFloat32} is the only rounding.
 */
import type {BranchNorms} from './fuse_rows.ts';
import type {ConvolutionBranch, TrainBlock} from './network.ts';

export type Floats = Float32Array | Float64Array;

/** The inference-time statistics of a batch normalisation over C channels: y = gamma * (x - mean) / sqrt(variance + eps) + beta. */
export interface BatchNorm {
  gamma: Floats;
  beta: Floats;
  mean: Floats;
  variance: Floats;
  /** No checkpoint stores it: it comes from the project that the checkpoint is of (see checkpoint/dialects.ts). */
  eps: number;
}

/** A convolution with a bias, in float64; 3x3 kernels have padding 1 and 1x1 kernels none, so that sizes agree. */
export interface Convolution {
  kernelSize: 1 | 3;
  /** [outChannels][inChannels / groups][kernelSize][kernelSize] */
  weight: Float64Array;
  /** [outChannels] */
  bias: Float64Array;
}

/**
 * Fuses a convolution and the batch normalisation behind it into one convolution (equation 3 of the paper). Per
 * output channel, with s = gamma / sqrt(variance + eps):
 *
 *     W' = s W        b' = beta + (bias - mean) s
 *
 * The official convolutions have no bias; one that has it, and is fused without it, is off by `bias * s` everywhere.
 */
export function fuseBatchNorm(
  convolution: {kernelSize: 1 | 3; weight: Floats; bias: Floats | null},
  batchNorm: BatchNorm,
): Convolution {
  const {kernelSize, weight, bias} = convolution;
  const {gamma, beta, mean, variance, eps} = batchNorm;
  const outChannels = gamma.length;
  const taps = weight.length / outChannels;
  const fused = {
    kernelSize,
    weight: new Float64Array(weight.length),
    bias: new Float64Array(outChannels),
  };
  for (let channel = 0; channel < outChannels; channel++) {
    const scale = gamma[channel]! / Math.sqrt(variance[channel]! + eps);
    const end = (channel + 1) * taps;
    for (let i = channel * taps; i < end; i++) fused.weight[i] = weight[i]! * scale;
    fused.bias[channel] = beta[channel]! + ((bias ? bias[channel]! : 0) - mean[channel]!) * scale;
  }
  return fused;
}

/**
 * The 1x1 kernel that returns its input, so that the identity branch is a convolution too. Each output channel sees
 * only the channels of its own group, so its 1 is at its place within the group: W[i][i mod (channels / groups)] = 1.
 *
 * @returns [end - first][channels / groups][1][1], the rows of these output channels
 */
export function identityKernel(
  channels: number,
  groups: number,
  first = 0,
  end: number = channels,
): Float64Array {
  const width = channels / groups;
  const weight = new Float64Array((end - first) * width);
  for (let i = first; i < end; i++) weight[(i - first) * width + (i % width)] = 1;
  return weight;
}

/**
 * Adds a branch to a 3x3 convolution over the same input, in place: kernels add up tap by tap, and so do biases. A 1x1
 * kernel is a 3x3 kernel whose outer taps are zero, so it adds to the centre alone; strides must be equal.
 */
export function addBranch(sum: Convolution, branch: Convolution): void {
  const [first, step] = branch.kernelSize === 3 ? [0, 1] : [4, 9];
  const {weight} = branch;
  for (let i = 0; i < weight.length; i++) sum.weight[first + i * step]! += weight[i]!;
  for (const [channel, bias] of branch.bias.entries()) sum.bias[channel]! += bias;
}

/**
 * Fuses the branches of a block, in float64: BN(conv3x3) + BN(conv1x1) + BN(identity), in the order of the official
 * code. Squeeze-and-excite comes after the sum and stays what it is.
 *
 * Output channels do not depend on each other, so a block can be fused a few at a time: the largest of any variant,
 * 2560 x 768 x 3 x 3 of B3, would hold the thread for 0.2 to 0.6 s.
 *
 * @returns the output channels from `first` to before `end`
 */
export function fuseBlock(
  {shape, dense, pointwise, identity}: TrainBlock,
  first = 0,
  end: number = shape.outChannels,
): Convolution {
  const {outChannels, groups} = shape;
  const normalised = (kernelSize: 1 | 3, branch: ConvolutionBranch): Convolution => {
    const {weight, bias, batchNorm} = channelsOfBranch(branch, outChannels, first, end);
    return fuseBatchNorm({kernelSize, weight, bias}, batchNorm);
  };
  const fused = normalised(3, dense);
  addBranch(fused, normalised(1, pointwise));
  if (identity) {
    const weight = identityKernel(outChannels, groups, first, end);
    const batchNorm = channelsOfNorm(identity, first, end);
    addBranch(fused, fuseBatchNorm({kernelSize: 1, weight, bias: null}, batchNorm));
  }
  return fused;
}

/** The branch of the output channels from `first` to before `end`, of `outChannels`. */
export function channelsOfBranch(
  {weight, bias, batchNorm}: ConvolutionBranch,
  outChannels: number,
  first: number,
  end: number,
): ConvolutionBranch {
  const taps = weight.length / outChannels;
  return {
    weight: weight.subarray(first * taps, end * taps),
    bias: bias?.subarray(first, end) ?? null,
    batchNorm: channelsOfNorm(batchNorm, first, end),
  };
}

function channelsOfNorm(
  {gamma, beta, mean, variance, eps}: BatchNorm,
  first: number,
  end: number,
): BatchNorm {
  return {
    gamma: gamma.subarray(first, end),
    beta: beta.subarray(first, end),
    mean: mean.subarray(first, end),
    variance: variance.subarray(first, end),
    eps,
  };
}

/**
 * Draws a batch normalisation of the sum of a block's branches into the branches: with s and b its scale and shift,
 * s (A + B + C) + b = (s A + b) + s B + s C. So a block of QARepVGG (arXiv 2212.01593) becomes one of RepVGG, exactly.
 */
export function distributeBatchNorm<Block extends BranchNorms>(block: Block, sum: BatchNorm): Block {
  const scale = Float64Array.from(sum.gamma, (gamma, i) => gamma / Math.sqrt(sum.variance[i]! + sum.eps));
  const scaled = (norm: BatchNorm, shift: (channel: number) => number): BatchNorm => ({
    ...norm,
    gamma: Float64Array.from(norm.gamma, (gamma, i) => gamma * scale[i]!),
    beta: Float64Array.from(norm.beta, (beta, i) => beta * scale[i]! + shift(i)),
  });
  const {dense, pointwise, identity} = block;
  return {
    ...block,
    dense: {...dense, batchNorm: scaled(dense.batchNorm, i => sum.beta[i]! - sum.mean[i]! * scale[i]!)},
    pointwise: {...pointwise, batchNorm: scaled(pointwise.batchNorm, () => 0)},
    identity: identity && scaled(identity, () => 0),
  };
}

/** The batch normalisation that changes nothing. */
export function unitBatchNorm(channels: number): BatchNorm {
  const filled = (value: number): Float32Array => new Float32Array(channels).fill(value);
  return {gamma: filled(1), beta: filled(0), mean: filled(0), variance: filled(1), eps: 0};
}

/** Rounds a fused convolution to the float32 in which networks are stored and run: once, at the very end. */
export function roundToFloat32({weight, bias}: Convolution): {weight: Float32Array; bias: Float32Array} {
  return {weight: new Float32Array(weight), bias: new Float32Array(bias)};
}
