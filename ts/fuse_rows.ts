/**
 * What `fuseBlock` and `roundToFloat32` compute, bit for bit, in one pass over the kernels and without memory of its own:
 * for networks of some hundred million numbers.
 */
import type {TensorInfo} from './checkpoint/checkpoint.ts';
import type {BatchNorm, Floats} from './fusion.ts';
import {inSlices} from './turns.ts';

/** The branches of a block, but for their kernels. */
export interface BranchNorms {
  dense: {bias: Floats | null; batchNorm: BatchNorm};
  pointwise: {bias: Floats | null; batchNorm: BatchNorm};
  identity: BatchNorm | null;
}

/** What the kernels of a block are multiplied with, per output channel, and the bias of their sum. */
export interface BlockFactors {
  dense: Float64Array;
  pointwise: Float64Array;
  identity: Float64Array | null;
  bias: Float32Array;
}

/** How the kernels of a block are fused: as {@link fuseRows} does it, by whatever means. */
export interface FusionKernels {
  /**
   * @param index of the block
   * @param dense the 3x3 kernels, [outChannels][inChannels / groups][3][3]
   * @param pointwise [outChannels][inChannels / groups]
   * @returns the fused kernels, and whether all numbers of them are finite, as `fuseRows` tells it
   * @throws what reading these throws; the signal's reason
   */
  fuse(
    index: number,
    dense: TensorInfo,
    pointwise: TensorInfo,
    factors: BlockFactors,
    signal?: AbortSignal | undefined,
  ): Promise<FusedKernels>;
}

export interface FusedKernels {
  /** In the layout of the 3x3 kernels. Empty where the network that they are for has them already. */
  weight: Float32Array;
  finite: boolean;
}

const mostFloat32 = (2 - 2 ** -23) * 2 ** 127;

export function blockFactors({dense, pointwise, identity}: BranchNorms): BlockFactors {
  const scaleOf = ({gamma, variance, eps}: BatchNorm): Float64Array =>
    new Float64Array(gamma).map((value, i) => value / Math.sqrt(variance[i]! + eps));
  const scales = {dense: scaleOf(dense.batchNorm), pointwise: scaleOf(pointwise.batchNorm)};
  const identityScale = identity && scaleOf(identity);
  const shift = (i: number, {beta, mean}: BatchNorm, scale: Float64Array, bias: Floats | null): number =>
    beta[i]! + ((bias ? bias[i]! : 0) - mean[i]!) * scale[i]!;
  const bias = new Float32Array(scales.dense.length).map((_, i) => {
    const sum =
      shift(i, dense.batchNorm, scales.dense, dense.bias) +
      shift(i, pointwise.batchNorm, scales.pointwise, pointwise.bias);
    return identity ? sum + shift(i, identity, identityScale!, null) : sum;
  });
  return {...scales, identity: identityScale, bias};
}

/**
 * Fuses the kernels of the output channels from `first` on.
 *
 * @param target [channels][inChannels / groups][3][3], filled; its length says how many channels
 * @param dense of these channels, in the layout of `target`, which it may be
 * @param pointwise [outChannels][inChannels / groups], of all channels
 * @param width inChannels / groups
 * @returns whether all numbers are finite, as far as their size tells: false also where their sum is beyond float32
 */
export function fuseRows(
  target: Float32Array,
  dense: Floats,
  pointwise: Floats,
  factors: BlockFactors,
  first: number,
  width: number,
): boolean {
  const {abs} = Math;
  const end = first + target.length / (9 * width);
  let size = 0;
  let i = 0;
  for (let channel = first; channel < end; channel++) {
    const scale = factors.dense[channel]!;
    const centre = factors.pointwise[channel]!;
    // Nothing is added where there is no identity: -0, since 0 would turn -0 into 0.
    const [own, other] = factors.identity ? [factors.identity[channel]!, 0] : [-0, -0];
    const self = channel % width;
    for (let column = 0; column < width; column++, i += 9) {
      const added = column === self ? own : other;
      const v0 = dense[i]! * scale;
      const v1 = dense[i + 1]! * scale;
      const v2 = dense[i + 2]! * scale;
      const v3 = dense[i + 3]! * scale;
      const v4 = dense[i + 4]! * scale + pointwise[channel * width + column]! * centre + added;
      const v5 = dense[i + 5]! * scale;
      const v6 = dense[i + 6]! * scale;
      const v7 = dense[i + 7]! * scale;
      const v8 = dense[i + 8]! * scale;
      target[i] = v0;
      target[i + 1] = v1;
      target[i + 2] = v2;
      target[i + 3] = v3;
      target[i + 4] = v4;
      target[i + 5] = v5;
      target[i + 6] = v6;
      target[i + 7] = v7;
      target[i + 8] = v8;
      size += abs(v0) + abs(v1) + abs(v2) + (abs(v3) + abs(v4) + abs(v5)) + (abs(v6) + abs(v7) + abs(v8));
    }
  }
  return size <= mostFloat32;
}

/** Fuses with {@link fuseRows} or one that does the same, a few channels at a time so that others have their turn. */
export async function fuseInTurns(
  target: Float32Array,
  dense: Floats,
  pointwise: Floats,
  factors: BlockFactors,
  {rows = fuseRows, signal}: {rows?: typeof fuseRows; signal?: AbortSignal | undefined} = {},
): Promise<boolean> {
  const channels = factors.dense.length;
  const width = pointwise.length / channels;
  const taps = 9 * width;
  let finite = true;
  const fuse = (first: number, end: number): void => {
    const part = dense.subarray(first * taps, end * taps);
    finite =
      rows(target.subarray(first * taps, end * taps), part, pointwise, factors, first, width) && finite;
  };
  await inSlices(channels, fuse, {itemLength: taps, signal});
  return finite;
}

/** Without the addon. */
export const plainFusion: FusionKernels = {
  async fuse(_index, dense, pointwise, factors, signal) {
    const points = await pointwise.read();
    const values = await dense.read();
    const weight = values instanceof Float32Array ? values : new Float32Array(values.length);
    return {weight, finite: await fuseInTurns(weight, values, points, factors, {signal})};
  },
};

/** Whether all numbers from `first` to before `end` are finite. */
export function allFinite(values: Floats, first: number, end: number): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  let i = first;
  for (; i + 3 < end; i += 4) {
    a += values[i]! * 0;
    b += values[i + 1]! * 0;
    c += values[i + 2]! * 0;
    d += values[i + 3]! * 0;
  }
  for (; i < end; i++) a += values[i]! * 0;
  return a + b + c + d === 0;
}
