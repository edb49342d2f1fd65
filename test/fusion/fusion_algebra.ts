/** Fusion one step at a time, as docs/fusion.md explains it: what the loops of ts/fusion/fuse_rows.ts do in one pass has to equal. */
import type {BatchNorm, ConvolutionBranch, Floats, TrainBlock} from '../../ts/network.ts';

/** A convolution with a bias, in float64; 3x3 kernels have padding 1 and 1x1 kernels none, so that sizes agree. */
export interface Convolution {
  kernelSize: 1 | 3;
  /** [outChannels][inChannels / groups][kernelSize][kernelSize] */
  weight: Float64Array;
  /** [outChannels] */
  bias: Float64Array;
}

/** A convolution and the batch normalisation behind it as one: W' = s W, b' = beta + (bias - mean) s. */
export function fuseBatchNorm(
  {kernelSize, weight, bias}: {kernelSize: 1 | 3; weight: Floats; bias: Floats | null},
  {gamma, beta, mean, variance, eps}: BatchNorm,
): Convolution {
  const taps = weight.length / gamma.length;
  const scale = Float64Array.from(gamma, (value, channel) => value / Math.sqrt(variance[channel]! + eps));
  return {
    kernelSize,
    weight: Float64Array.from(weight, (value, i) => value * scale[Math.trunc(i / taps)]!),
    bias: scale.map((s, channel) => beta[channel]! + ((bias ? bias[channel]! : 0) - mean[channel]!) * s),
  };
}

/** The 1x1 kernel that returns its input: W[i][i mod (channels / groups)] = 1. */
export function identityKernel(channels: number, groups: number): Float64Array {
  const width = channels / groups;
  const weight = new Float64Array(channels * width);
  for (let i = 0; i < channels; i++) weight[i * width + (i % width)] = 1;
  return weight;
}

/** Adds a branch to a 3x3 convolution over the same input, in place; of a 1x1 kernel, to the centre tap alone. */
export function addBranch(sum: Convolution, {kernelSize, weight, bias}: Convolution): void {
  const [first, step] = kernelSize === 3 ? [0, 1] : [4, 9];
  for (let i = 0; i < weight.length; i++) sum.weight[first + i * step]! += weight[i]!;
  for (const [channel, value] of bias.entries()) sum.bias[channel]! += value;
}

/** The sum of a block's branches, BN(conv3x3) + BN(conv1x1) + BN(identity), in the order of the official code. */
export function fuseBlock({shape, dense, pointwise, identity}: TrainBlock): Convolution {
  const normalised = (kernelSize: 1 | 3, branch: ConvolutionBranch): Convolution =>
    fuseBatchNorm({kernelSize, ...branch}, branch.batchNorm);
  const fused = normalised(3, dense);
  addBranch(fused, normalised(1, pointwise));
  if (identity) {
    const weight = identityKernel(shape.outChannels, shape.groups);
    addBranch(fused, fuseBatchNorm({kernelSize: 1, weight, bias: null}, identity));
  }
  return fused;
}

/** The only rounding. */
export function roundToFloat32({weight, bias}: Convolution): {weight: Float32Array; bias: Float32Array} {
  return {weight: new Float32Array(weight), bias: new Float32Array(bias)};
}
