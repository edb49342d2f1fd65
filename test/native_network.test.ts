import test, {type ExecutionContext} from 'ava';
import type {Architecture, BlockShape, SqueezeExcitePosition} from '../ts/architecture.ts';
import {randomNetwork} from '../ts/bench/workload.ts';
import {setParameters} from '../ts/load_network.ts';
import {native} from '../ts/native.ts';
import {toNativeBlock, toNativeShape} from '../ts/native_network.ts';
import type {BlockParameters, Form, NetworkParameters} from '../ts/network.ts';
import {Random} from './random.ts';
import {forward64, relativeL2} from './reference64.ts';

/** A network of random blocks, whatever shapes it is given: the engine knows nothing of stages. */
interface Case {
  channels: number[];
  strides: (1 | 2)[];
  groups?: number[];
  form?: Form;
  position?: SqueezeExcitePosition;
  height: number;
  width: number;
  images?: number;
}

const mean = [0.485, 0.456, 0.406] as const;
const std = [0.229, 0.224, 0.225] as const;
const numClasses = 7;

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

interface Options {
  instructionSet?: string;
  threads: number;
  algorithm?: 'direct' | 'f2' | 'f4';
  winograd?: 'off' | 'f2';
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
async function run(testCase: Case, options: Options, split?: readonly number[]): Promise<Float32Array> {
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
async function expected(testCase: Case): Promise<Float64Array> {
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
function worstOf(testCase: Case, got: Float32Array, reference: Float64Array): number {
  const {images = 2, channels} = testCase;
  let [at, worst] = [0, 0];
  for (const length of [numClasses, channels.at(-1)!]) {
    for (let i = 0; i < images; i++, at += length) {
      worst = Math.max(worst, relativeL2(got.subarray(at, at + length), reference.subarray(at, at + length)));
    }
  }
  return worst;
}

async function error(testCase: Case, options: Options): Promise<number> {
  return worstOf(testCase, await run(testCase, options), await expected(testCase));
}

/** Any shape, in every algorithm, against float64; and the same bits for every split and number of threads. */
async function checkRandomShapes(
  t: ExecutionContext,
  instructionSet: string,
  precision: 'fp32' | 'bf16',
  most: number,
): Promise<void> {
  t.timeout(300_000);
  const random = new Random(instructionSet);
  for (let i = 0; i < 40; i++) {
    const groups = random.pick([1, 1, 2, 4]);
    const testCase: Case = {
      channels: [random.pick([1, 16]) * random.integer(1, 5) * groups, random.integer(4, 20) * groups],
      strides: [random.pick([1, 2]), random.pick([1, 2])],
      groups: [1, groups],
      form: precision === 'fp32' ? random.pick(['deploy', 'train']) : 'deploy',
      ...(random.integer(0, 3) === 0 && {position: random.pick(['before-relu', 'after-relu'])}),
      height: random.integer(1, 24),
      width: random.integer(1, 40),
      images: random.integer(1, 5),
    };
    const reference = await expected(testCase);
    const first = random.integer(0, testCase.images! - 1);
    const splits = [[testCase.images!], first === 0 ? [testCase.images!] : [first, testCase.images! - first]];
    for (const algorithm of precision === 'fp32' ? (['direct', 'f2', 'f4'] as const) : [undefined]) {
      const results: Float32Array[] = [];
      for (const split of splits) {
        const threads = random.integer(1, 4);
        results.push(
          await run(testCase, {instructionSet, threads, precision, ...(algorithm && {algorithm})}, split),
        );
      }
      const name = `${algorithm}, ${JSON.stringify(testCase)}`;
      const worst = worstOf(testCase, results[0]!, reference);
      t.true(worst < most, `relative L2 ${worst} for ${name}`);
      t.true(Buffer.from(results[0]!.buffer).equals(Buffer.from(results[1]!.buffer)), `bits of ${name}`);
    }
  }
}

const cases: Record<string, Case> = {
  'one pixel': {channels: [5, 8], strides: [1, 1], height: 1, width: 1},
  'one row': {channels: [5, 8], strides: [1, 2], height: 1, width: 9},
  'one column': {channels: [5, 8], strides: [2, 1], height: 11, width: 1},
  'odd sizes, stride 2': {channels: [16, 33, 20], strides: [2, 2, 2], height: 13, width: 17},
  'even sizes, stride 2': {channels: [16, 33, 20], strides: [2, 2, 2], height: 16, width: 12},
  'widths around the tile of 14': {channels: [32, 32], strides: [1, 1], height: 3, width: 29},
  'a whole tile': {channels: [32, 32], strides: [1, 1], height: 4, width: 14},
  'channels of every rest': {
    channels: [1, 15, 16, 17, 31, 32, 33, 47],
    strides: Array(8).fill(1),
    height: 5,
    width: 6,
  },
  'two groups': {channels: [8, 24, 24], strides: [1, 1, 2], groups: [1, 2, 2], height: 7, width: 6},
  'four groups of odd width': {
    channels: [12, 20, 20],
    strides: [1, 1, 1],
    groups: [1, 4, 4],
    height: 6,
    width: 7,
  },
  'groups wider than a block': {channels: [80, 80], strides: [2, 1], groups: [1, 2], height: 9, width: 8},
  'squeeze before ReLU': {channels: [12, 12], strides: [1, 2], position: 'before-relu', height: 8, width: 9},
  'squeeze after ReLU': {channels: [12, 12], strides: [1, 2], position: 'after-relu', height: 8, width: 9},
  'three branches': {channels: [12, 12, 20], strides: [2, 1, 2], form: 'train', height: 12, width: 15},
  'three branches, grouped, squeezed': {
    channels: [16, 16, 16],
    strides: [1, 1, 2],
    groups: [1, 4, 2],
    form: 'train',
    position: 'before-relu',
    height: 9,
    width: 7,
  },
  'more images than run at once': {channels: [6, 7], strides: [2, 1], height: 6, width: 5, images: 19},
};

/** Stride 1 and channels that every instruction set can put into vectors: what Winograd tiles are used for. */
const winogradCases: Record<string, Case> = {
  'one pixel': {channels: [16, 16], strides: [1, 1], height: 1, width: 1},
  'less than a tile': {channels: [16, 24], strides: [1, 1], height: 3, width: 2},
  'a whole tile': {channels: [16, 24], strides: [1, 1], height: 4, width: 4},
  'tiles over the edge': {channels: [32, 32], strides: [1, 1], height: 14, width: 7},
  'tiles with one pixel over': {channels: [16, 33], strides: [1, 1], height: 5, width: 9},
  'more tiles than are in memory at once': {
    channels: [16, 20],
    strides: [1, 1],
    height: 23,
    width: 29,
    images: 3,
  },
  'two groups': {channels: [32, 48], strides: [1, 1], groups: [1, 2], height: 9, width: 6},
  'four groups, narrower than a vector': {
    channels: [48, 80],
    strides: [1, 1],
    groups: [1, 4],
    height: 6,
    width: 7,
  },
  'after stride 2, before ReLU': {
    channels: [16, 16],
    strides: [2, 1],
    position: 'before-relu',
    height: 13,
    width: 12,
  },
  'three branches': {channels: [16, 16, 32], strides: [2, 1, 1], form: 'train', height: 12, width: 15},
};

for (const instructionSet of native().cpuInfo().instructionSets) {
  for (const [name, testCase] of Object.entries(cases)) {
    test(`${instructionSet}: ${name}`, async t => {
      const worst = await error(testCase, {instructionSet, threads: 2, algorithm: 'direct'});
      t.true(worst < 2e-6, `relative L2 ${worst}`);
    });
  }

  for (const [name, testCase] of Object.entries(winogradCases)) {
    test(`${instructionSet}, Winograd: ${name}`, async t => {
      const options = {instructionSet, threads: 2};
      const worst = await error(testCase, {...options, algorithm: 'f4'});
      t.true(worst < 4e-6, `relative L2 ${worst}`);
      t.not(worst, await error(testCase, {...options, algorithm: 'direct'}), 'it is another algorithm');
      const off = await error(testCase, {...options, winograd: 'off'});
      t.is(off, await error(testCase, {...options, algorithm: 'direct'}));
      t.is(
        await error(testCase, {...options, winograd: 'f2'}),
        await error(testCase, {...options, algorithm: 'f2'}),
      );
    });
  }

  test(`${instructionSet}: random shapes`, t => checkRandomShapes(t, instructionSet, 'fp32', 4e-6));
}

// A processor with AMX has AVX-512 BF16 as well.
const bf16Sets =
  {amx: ['amx', 'avx512bf16'], avx512bf16: ['avx512bf16']}[native().cpuInfo().bf16 ?? ''] ?? [];

for (const instructionSet of bf16Sets) {
  for (const [name, testCase] of Object.entries({...cases, ...winogradCases})) {
    if (testCase.form === 'train') continue;
    test(`bf16, ${instructionSet}: ${name}`, async t => {
      const worst = await error(testCase, {instructionSet, threads: 2, precision: 'bf16'});
      t.true(worst < 2e-2, `relative L2 ${worst}`);
      t.true(worst > 1e-5, 'bf16 was used');
    });
  }

  test(`bf16, ${instructionSet}: random shapes`, t => checkRandomShapes(t, instructionSet, 'bf16', 2e-2));
}

test('bf16 is refused for the train form and where the processor lacks it', t => {
  const {Network} = native();
  const shape = {squeezeExcite: null, blocks: [], numClasses: 0, height: 3, width: 3, mean, std};
  const options = {backend: 'cpu', precision: 'bf16', batchSize: 1} as const;
  const code = 'ERR_PRECISION_UNSUPPORTED';
  t.throws(() => new Network({...shape, form: 'train'}, options), {code});
  t.throws(() => new Network({...shape, form: 'deploy'}, {...options, instructionSet: 'abacus'}), {code});
});

// As many images as pass the last blocks together and some more, and maps of more than one piece a row.
for (const precision of native().cpuInfo().bf16 ? (['fp32', 'bf16'] as const) : (['fp32'] as const)) {
  test(`${precision}: results are equal to the bit however a batch is split and however many threads there are`, async t => {
    const testCase: Case = {
      channels: [16, 32, 48, 96],
      strides: [2, 1, 2, 1],
      height: 37,
      width: 29,
      images: 13,
    };
    const of = (threads: number, split: number[]) => run(testCase, {precision, threads}, split);
    const whole = await of(1, [13]);
    t.is(whole.length, 13 * (numClasses + 96));
    for (const [threads, split] of [
      [2, [1, 12]],
      [3, [5, 5, 3]],
      [11, [13]],
    ] as const) {
      t.deepEqual(await of(threads, [...split]), whole);
    }
  });
}

test('an instruction set that the processor does not have is refused', t => {
  const shape = {
    form: 'deploy',
    squeezeExcite: null,
    blocks: [],
    numClasses: 0,
    height: 3,
    width: 3,
    mean,
    std,
  } as const;
  const {Network} = native();
  t.throws(
    () =>
      new Network(
        {...shape, blocks: []},
        {backend: 'cpu', precision: 'fp32', batchSize: 8, instructionSet: 'abacus'},
      ),
    {
      code: 'ERR_DEVICE_UNAVAILABLE',
    },
  );
});

test('NaN pixels of a network show as NaN, not as zeros', async t => {
  const {Network} = native();
  const block = {inChannels: 3, outChannels: 4, stride: 1, groups: 1, identity: false, squeezeChannels: 0};
  const network = new Network(
    {form: 'deploy', squeezeExcite: null, blocks: [block], numClasses: 0, height: 3, width: 3, mean, std},
    {backend: 'cpu', precision: 'fp32', batchSize: 8},
  );
  const weight = new Float32Array(4 * 27).fill(Number.NaN, 0, 27);
  await network.setBlock(0, {weight, bias: new Float32Array(4).fill(1), squeezeExcite: null});
  const batch = {pixels: new Uint8Array(27), count: 1};
  t.deepEqual([...(await network.run(batch, 'embedding', new Uint8Array(1)))], [Number.NaN, 1, 1, 1]);
});

test('kernels that were handed over are freed, and the network does without them', async t => {
  const architecture: Architecture = {
    name: 'custom',
    numBlocks: [1, 2, 1, 1],
    widths: [8, 8, 8, 16, 16],
    groups: 1,
    numClasses: 3,
    squeezeExcite: null,
  };
  for (const form of ['deploy', 'train'] as const) {
    const given: BlockParameters[] = [];
    const parameters = randomNetwork(architecture, form);
    const noted: NetworkParameters = {
      ...parameters,
      async *blocks(...args) {
        for await (const block of parameters.blocks(...args)) {
          given.push(block);
          yield block;
        }
      },
    };
    const shape = toNativeShape(architecture, form, {crop: 32, mean, std});
    const make = () =>
      new (native().Network)(shape, {
        backend: 'cpu',
        precision: 'fp32',
        batchSize: 1,
        threads: 1,
        algorithm: 'direct',
      });
    const [network, again] = [make(), make()];
    await setParameters(network, noted, form);
    const kernels = given.flatMap(block =>
      block.form === 'deploy' ? [block.weight] : [block.dense.weight, block.pointwise.weight],
    );
    t.is(kernels.length, form === 'deploy' ? 6 : 12);
    for (const kernel of kernels) t.is(kernel.length, 0);
    await setParameters(again, randomNetwork(architecture, form), form);
    const batch = {pixels: new Uint8Array(32 * 32 * 3).fill(100), count: 1};
    const logits = await network.run(batch, 'logits', new Uint8Array(1));
    t.deepEqual(logits, await again.run(batch, 'logits', new Uint8Array(1)));
    t.true(logits.some(value => value !== 0));
  }
});
