// Networks of random blocks on the CPU's engine, and the same in float64.
import type {BlockShape, SqueezeExcitePosition} from '../../ts/architecture.ts';
import {native} from '../../ts/native/addon.ts';
import {toNativeBlock} from '../../ts/native/native_network.ts';
import type {BlockParameters, Form} from '../../ts/network.ts';
import {Random} from '../random.ts';
import {forward64, relativeL2} from '../reference64.ts';

/** A network of random blocks, whatever shapes it is given: the engine knows nothing of stages. */
export interface Case {
  channels: number[];
  strides: (1 | 2)[];
  groups?: number[];
  form?: Form;
  position?: SqueezeExcitePosition;
  height: number;
  width: number;
  images?: number;
}

export const mean = [0.485, 0.456, 0.406] as const;
export const std = [0.229, 0.224, 0.225] as const;
export const numClasses = 7;

function makeBlocks(
  random: Random,
  {channels, strides, groups, form = 'deploy', position}: Case,
): BlockParameters[] {
  return channels.map((outChannels, index): BlockParameters => {
    const inChannels = index === 0 ? 3 : channels[index - 1]!;
    const stride = strides[index]!;
    const squeezeChannels = position ? Math.max(1, outChannels >> 2) : 0;
    const shape: BlockShape = {
      index,
      stage: 0,
      position: index,
      inChannels,
      outChannels,
      stride,
      groups: groups?.[index] ?? 1,
      identity: stride === 1 && inChannels === outChannels,
      squeezeChannels,
    };
    const kernel = (taps: number): Float32Array => {
      const fanIn = (inChannels / shape.groups) * taps;
      return random.normal(outChannels * fanIn, 1 / Math.sqrt(fanIn));
    };
    const batchNorm = () => ({
      gamma: random.uniform(outChannels, 0.3, 1),
      beta: random.normal(outChannels, 0.2),
      mean: random.normal(outChannels, 0.2),
      variance: random.uniform(outChannels, 0.2, 2),
      eps: 1e-5,
    });
    const squeezeExcite = position
      ? {
          downWeight: random.normal(squeezeChannels * outChannels, 0.5),
          downBias: random.normal(squeezeChannels, 0.1),
          upWeight: random.normal(squeezeChannels * outChannels, 0.5),
          upBias: random.normal(outChannels, 0.5),
        }
      : null;
    if (form === 'deploy') {
      return {form, shape, weight: kernel(9), bias: random.normal(outChannels, 0.3), squeezeExcite};
    }
    return {
      form,
      shape,
      dense: {
        weight: kernel(9),
        bias: index % 2 ? random.normal(outChannels, 0.1) : null,
        batchNorm: batchNorm(),
      },
      pointwise: {weight: kernel(1), bias: null, batchNorm: batchNorm()},
      identity: shape.identity ? batchNorm() : null,
      squeezeExcite,
    };
  });
}

export interface Options {
  instructionSet?: string;
  threads: number;
  algorithm?: 'direct' | 'f2' | 'f4x2' | 'f4';
  winograd?: 'off';
  precision?: 'fp32' | 'bf16';
}

/** Parameters and images of a case, always the same. */
function make(testCase: Case) {
  const {height, width, images = 2} = testCase;
  const random = new Random(JSON.stringify(testCase));
  const blocks = makeBlocks(random, testCase);
  const linear = {
    weight: random.normal(numClasses * testCase.channels.at(-1)!, 0.3),
    bias: random.normal(numClasses, 0.3),
  };
  const pixels = Uint8Array.from(random.uniform(images * height * width * 3, 0, 256));
  return {blocks, linear, pixels, images};
}

/** Logits and then embeddings of all images, run in batches of so many. */
export async function run(
  testCase: Case,
  options: Options,
  split?: readonly number[],
): Promise<Float32Array> {
  const {height, width, form = 'deploy', position} = testCase;
  const {blocks, linear, pixels, images} = make(testCase);
  const {Network} = native();
  const shape = {
    form,
    squeezeExcite: position ?? null,
    blocks: blocks.map(b => b.shape),
    numClasses,
    height,
    width,
    mean,
    std,
  };
  const network = new Network(shape, {backend: 'cpu', precision: 'fp32', batchSize: 8, ...options});
  for (const block of blocks) await network.setBlock(block.shape.index, toNativeBlock(block));
  await network.setLinear(linear);
  const parts: number[] = [];
  for (const output of ['logits', 'embedding'] as const) {
    let first = 0;
    for (const count of split ?? [images]) {
      const part = pixels.subarray(first * height * width * 3, (first + count) * height * width * 3);
      parts.push(...(await network.run({pixels: part, count}, output, new Uint8Array(1))));
      first += count;
    }
  }
  await network.dispose();
  return Float32Array.from(parts);
}

/** The same in float64. */
export async function expected(testCase: Case): Promise<Float64Array> {
  const {height, width, position} = testCase;
  const {blocks, linear, pixels, images} = make(testCase);
  const logits: number[] = [];
  const embeddings: number[] = [];
  for (let i = 0; i < images; i++) {
    const input = new Float64Array(3 * height * width);
    for (let p = 0; p < height * width; p++) {
      for (let c = 0; c < 3; c++) {
        input[c * height * width + p] =
          (pixels[(i * height * width + p) * 3 + c]! / 255 - mean[c]!) / std[c]!;
      }
    }
    const reference = await forward64(blocks, linear, input, {height, width, position});
    logits.push(...reference.logits!);
    embeddings.push(...reference.embedding);
  }
  return Float64Array.from([...logits, ...embeddings]);
}

/** Largest relative L2 error of the logits and embeddings of all images. */
export function worstOf(testCase: Case, got: Float32Array, reference: Float64Array): number {
  const {images = 2, channels} = testCase;
  let [at, worst] = [0, 0];
  for (const length of [numClasses, channels.at(-1)!]) {
    for (let i = 0; i < images; i++, at += length) {
      worst = Math.max(worst, relativeL2(got.subarray(at, at + length), reference.subarray(at, at + length)));
    }
  }
  return worst;
}

export async function error(testCase: Case, options: Options): Promise<number> {
  return worstOf(testCase, await run(testCase, options), await expected(testCase));
}
