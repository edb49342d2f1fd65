// The CPU's engine against float64: every instruction set, algorithm and precision, on shapes of every rest.
import test, {type ExecutionContext} from 'ava';
import {native} from '../../ts/native/addon.ts';
import {Random} from '../random.ts';
import {testWhere, testWithBf16} from '../where.ts';
import {type Case, error, expected, numClasses, run, worstOf} from './native_networks.ts';

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
    for (const algorithm of precision === 'fp32' ? (['direct', 'f2', 'f4x2', 'f4'] as const) : [undefined]) {
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
  // No architecture has it; the engine takes any.
  'stride 3': {channels: [8, 12], strides: [1, 3 as 2], height: 9, width: 7},
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
  // All threads work on one set of tiles then; with groups each has its own.
  'more than 1 MB of weights': {channels: [96, 96], strides: [1, 1], height: 6, width: 5, images: 2},
  'more than 1 MB of weights in each of two groups': {
    channels: [192, 192],
    strides: [1, 1],
    groups: [1, 2],
    height: 6,
    width: 5,
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
    });
  }

  test(`${instructionSet}: random shapes`, t => checkRandomShapes(t, instructionSet, 'fp32', 4e-6));
}

// A processor with AMX has AVX-512 BF16 as well.
const {bf16} = native().cpuInfo();

for (const [instructionSet, has] of [
  ['amx', bf16 === 'amx'],
  ['avx512bf16', bf16 !== null],
] as const) {
  const testIt = testWhere(has, `the processor has no ${instructionSet}`);
  for (const [name, testCase] of Object.entries({...cases, ...winogradCases})) {
    if (testCase.form === 'train') continue;
    testIt(`bf16, ${instructionSet}: ${name}`, async t => {
      const worst = await error(testCase, {instructionSet, threads: 2, precision: 'bf16'});
      t.true(worst < 2e-2, `relative L2 ${worst}`);
      t.true(worst > (testCase.position ? 1e-6 : 1e-5), 'bf16 was used');
    });
  }

  testIt(`bf16, ${instructionSet}: random shapes`, t => checkRandomShapes(t, instructionSet, 'bf16', 2e-2));
}

// As many images as pass the last blocks together and some more, and maps of more than one piece a row.
for (const [precision, declare] of [
  ['fp32', test],
  ['bf16', testWithBf16],
] as const) {
  declare(
    `${precision}: results are equal to the bit however a batch is split and however many threads there are`,
    async (t: ExecutionContext) => {
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
    },
  );
}
