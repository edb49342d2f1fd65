/**
 * Fuses kernels in a single pass without temporary arrays, since networks have up to some hundred million weights. Each is
 * computed in float64 and rounded to float32 when it is stored.
 */
import type {Floats} from '../network.ts';
import {inSlices} from '../support/turns.ts';
import type {BlockFactors} from './fusion.ts';

const mostFloat32 = (2 - 2 ** -23) * 2 ** 127;

/**
 * Fuses the kernels of the output channels from `first` on.
 *
 * @param target output, [channels][inChannels / groups][3][3]; its length determines the number of channels
 * @param dense 3x3 kernels of these channels, in the same layout; may be `target` itself
 * @param pointwise 1x1 kernels of all channels, [outChannels][inChannels / groups]
 * @param width inChannels / groups
 * @returns true only if all results are finite; false also if the sum of their magnitudes exceeds float32
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
    // Without an identity -0 is added, since adding 0 would turn -0 into 0.
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

/** Fuses with {@link fuseRows} or an equivalent, a few channels at a time, yielding to the event loop in between. */
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

/** Multiplies each output channel of kernels by its scale, yielding to the event loop as well. */
export async function scaleKernels(
  weight: Floats,
  scale: Float64Array,
  signal?: AbortSignal | undefined,
): Promise<Float32Array> {
  const taps = weight.length / scale.length;
  const scaled = new Float32Array(weight.length);
  const work = (first: number, end: number): void => {
    for (let channel = first; channel < end; channel++) {
      const factor = scale[channel]!;
      const stop = (channel + 1) * taps;
      for (let i = channel * taps; i < stop; i++) scaled[i] = weight[i]! * factor;
    }
  };
  await inSlices(scale.length, work, {itemLength: taps, signal});
  return scaled;
}
