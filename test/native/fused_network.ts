import {native} from '../../ts/native/addon.ts';
import type {FusedBlock} from '../reference64.ts';

export const mean = [0.485, 0.456, 0.406] as const;
export const std = [0.229, 0.224, 0.225] as const;

/** What the CPU's engine gives for square images, [image][size][size][3], of a network without a classifier. */
export async function runFused(
  blocks: readonly FusedBlock[],
  pixels: Uint8Array,
  size: number,
  precision: 'fp32' | 'bf16' | 'fp8',
  output: 'embedding' | 'ranges',
  ranges?: Float32Array,
): Promise<Float32Array> {
  const shape = {
    form: 'deploy',
    squeezeExcite: null,
    blocks: blocks.map(block => block.shape),
    numClasses: 0,
    height: size,
    width: size,
    mean,
    std,
    ...(ranges && {ranges}),
  } as const;
  const network = new (native().Network)(shape, {backend: 'cpu', precision, batchSize: 2, threads: 2});
  for (const [i, {weight, bias}] of blocks.entries()) {
    await network.setBlock(i, {
      weight: weight as Float32Array,
      bias: bias as Float32Array,
      squeezeExcite: null,
    });
  }
  const count = pixels.length / (size * size * 3);
  const got = await network.run({pixels, count}, output, new Uint8Array(1));
  await network.dispose();
  return got;
}
