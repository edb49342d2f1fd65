import test from 'ava';
import type {Architecture, BlockShape} from '../../ts/architecture.ts';
import {fuseRows} from '../../ts/fusion/fuse_rows.ts';
import {blockFactors} from '../../ts/fusion/fusion.ts';
import type {BatchNorm, TrainBlock} from '../../ts/network.ts';
import {collect, memoryCheckpoint, networkFromCheckpoint, smallNetwork, stateDict} from '../checkpoints.ts';
import {Random} from '../random.ts';
import {
  add,
  batchNorm,
  block64,
  convolution,
  type FeatureMap,
  type FusedBlock,
  forward64,
  relativeL2,
} from '../reference64.ts';
import {
  addBranch,
  type Convolution,
  fuseBatchNorm,
  fuseBlock,
  identityKernel,
  roundToFloat32,
} from './fusion_algebra.ts';

/** A 7 x 7 map of two channels. */
function map7(channel0: (i: number) => number, channel1: (i: number) => number): FeatureMap {
  const data = Float64Array.from({length: 98}, (_, i) => (i < 49 ? channel0(i) : channel1(i - 49)));
  return {channels: 2, height: 7, width: 7, data};
}

const dense = {kernelSize: 3, stride: 1, groups: 1} as const;

function largestDifference(a: Float64Array, b: Float64Array): number {
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0);
}

test('two parallel 3x3 convolutions are one', t => {
  const input = map7(
    () => 1,
    () => 2,
  );
  const first: Convolution = {
    kernelSize: 3,
    weight: new Float64Array(36).fill(1),
    bias: Float64Array.of(10, 10),
  };
  const second: Convolution = {
    kernelSize: 3,
    weight: new Float64Array(36).fill(2),
    bias: Float64Array.of(20, 20),
  };
  const apart = add(convolution(input, {...dense, ...first}), convolution(input, {...dense, ...second}));
  addBranch(first, second);
  const together = convolution(input, {...dense, ...first});
  t.deepEqual(first.weight, new Float64Array(36).fill(3));
  t.deepEqual(first.bias, Float64Array.of(30, 30));
  t.deepEqual(together, apart);
  for (let i = 0; i < 98; i++) {
    const [y, x] = [Math.floor(i / 7) % 7, i % 7];
    const edges = Number(y % 6 === 0) + Number(x % 6 === 0);
    t.is(together.data[i], [111, 84, 66][edges]);
  }
});

const constant: BatchNorm = {
  gamma: Float32Array.of(5, 5),
  beta: Float32Array.of(20, 20),
  mean: Float32Array.of(5, 5),
  variance: Float32Array.of(100, 100),
  eps: 1e-5,
};

test('a 3x3 convolution and its batch normalisation are one convolution, whose bias takes in its own bias', t => {
  const input = map7(
    () => 50,
    i => 50 + i,
  );
  t.is(batchNorm(input, constant).data[0]!.toFixed(4), '42.5000');
  const weight = new Random('conv with a bias').uniform(36, -0.2, 0.2);
  const bias = Float64Array.of(0.2054, 0.1194);
  const expected = batchNorm(convolution(input, {...dense, weight, bias}), constant);
  const run = (fused: Convolution): Float64Array => convolution(input, {...dense, ...fused}).data;

  const right = run(fuseBatchNorm({kernelSize: 3, weight, bias}, constant));
  t.true(largestDifference(right, expected.data) < 1e-12);

  // The mistake of a well-known write-up: the same formula without the convolution's own bias.
  const wrong = run(fuseBatchNorm({kernelSize: 3, weight, bias: null}, constant));
  for (const [i, value] of wrong.entries())
    t.is((expected.data[i]! - value).toFixed(4), i < 49 ? '0.1027' : '0.0597');
});

test('a 1x1 convolution and its batch normalisation are a 3x3 convolution', t => {
  const input = map7(
    () => 50,
    i => 50 + i,
  );
  const weight = Float64Array.of(0.5, -1, 2, 0.25);
  const expected = batchNorm(convolution(input, {...dense, kernelSize: 1, weight, bias: null}), constant);
  const fused: Convolution = {kernelSize: 3, weight: new Float64Array(36), bias: new Float64Array(2)};
  addBranch(fused, fuseBatchNorm({kernelSize: 1, weight, bias: null}, constant));
  t.is(fused.weight.filter(value => value !== 0).length, 4);
  t.true(largestDifference(convolution(input, {...dense, ...fused}).data, expected.data) < 1e-12);
});

test('the identity and its batch normalisation are a 3x3 convolution', t => {
  const input = map7(
    () => 1,
    () => 2,
  );
  const identity: Convolution = {kernelSize: 3, weight: new Float64Array(36), bias: new Float64Array(2)};
  addBranch(identity, {kernelSize: 1, weight: identityKernel(2, 1), bias: new Float64Array(2)});
  t.deepEqual(convolution(input, {...dense, ...identity}).data, input.data);

  const fused: Convolution = {kernelSize: 3, weight: new Float64Array(36), bias: new Float64Array(2)};
  addBranch(fused, fuseBatchNorm({kernelSize: 1, weight: identityKernel(2, 1), bias: null}, constant));
  const actual = convolution(input, {...dense, ...fused}).data;
  t.true(largestDifference(actual, batchNorm(input, constant).data) < 1e-12);
});

test('the identity kernel has its ones at the channel within the group', t => {
  t.deepEqual([...identityKernel(4, 1)], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  t.deepEqual([...identityKernel(4, 2)], [1, 0, 0, 1, 1, 0, 0, 1]);
  t.deepEqual([...identityKernel(4, 4)], [1, 1, 1, 1]);
});

/** The golden block: 2 to 2 channels, with statistics that differ from branch to branch. */
function goldenBlock(): TrainBlock {
  const statistics = (s: number): BatchNorm => ({
    gamma: Float32Array.of(0.5 + 0.1 * s, 1 + 0.1 * s),
    beta: Float32Array.of(0.01 * s, -0.02 * s),
    mean: Float32Array.of(0.1 * s, -0.1 * s),
    variance: Float32Array.of(0.25 * s, 1.5 * s),
    eps: 1e-5,
  });
  const shape: BlockShape = {
    index: 1,
    stage: 1,
    position: 1,
    inChannels: 2,
    outChannels: 2,
    stride: 1,
    groups: 1,
    identity: true,
    squeezeChannels: 0,
  };
  return {
    form: 'train',
    shape,
    dense: {
      weight: Float32Array.from({length: 36}, (_, n) => ((7 * n) % 11) / 11 - 0.5),
      bias: null,
      batchNorm: statistics(1),
    },
    pointwise: {
      weight: Float32Array.from({length: 4}, (_, n) => ((3 * n) % 5) / 5 - 0.5),
      bias: null,
      batchNorm: statistics(2),
    },
    identity: statistics(3),
    squeezeExcite: null,
  };
}

test('a block fuses to what the official code makes of it', t => {
  const {weight, bias} = fuseBlock(goldenBlock());
  // Printed to seven digits by the official code, whose float32 additions are off by up to one in the last.
  const expected = [
    [
      0,
      [-0.599988, 0.1636331, -0.2727218, 0.4908993, 0.4833288, -0.3818105, 0.3818105, -0.0545444, -0.4908993],
    ],
    [
      9,
      [0.2727218, -0.1636331, -0.599988, 0.1636331, -0.1737279, 0.4908993, 0.0545444, -0.3818105, 0.3818105],
    ],
    [18 + 4, [-0.6569174]],
    [27 + 4, [1.0247945]],
  ] as const;
  for (const [start, values] of expected) {
    for (const [i, value] of values.entries())
      t.true(Math.abs(weight[start + i]! - value) < 1e-7, `${start + i}`);
  }
  t.true(Math.abs(bias[0]! - -0.5351118) < 1e-7);
  t.true(Math.abs(bias[1]! - 0.2922257) < 1e-7);
});

/** As checkpoints are fused. */
function fuseInOnePass(block: TrainBlock): {weight: Float32Array; bias: Float32Array} {
  const {shape, dense, pointwise} = block;
  const weight = new Float32Array(dense.weight.length);
  const factors = blockFactors(block);
  fuseRows(weight, dense.weight, pointwise.weight, factors, 0, shape.inChannels / shape.groups);
  return {weight, bias: factors.bias};
}

test('one pass over a block gives what the steps give, rounded', t => {
  const block = goldenBlock();
  const biased = {...block.dense, bias: Float32Array.of(0.2054, 0.1194)};
  const grouped = {
    ...block,
    shape: {...block.shape, groups: 2},
    dense: {...block.dense, weight: block.dense.weight.subarray(0, 18)},
    pointwise: {...block.pointwise, weight: block.pointwise.weight.subarray(0, 2)},
  };
  for (const each of [block, {...block, dense: biased}, {...block, identity: null}, grouped])
    t.deepEqual(fuseInOnePass(each), roundToFloat32(fuseBlock(each)));
});

test('a fused and rounded block computes what its branches do', t => {
  const block = goldenBlock();
  const pixels = new Random('golden input').uniform(98, -2, 2);
  const input: FeatureMap = {channels: 2, height: 7, width: 7, data: Float64Array.from(pixels)};
  const fused = {...block, form: 'deploy', ...fuseInOnePass(block)} as const;
  const difference = largestDifference(block64(input, fused).data, block64(input, block).data);
  t.true(difference < 3.6e-7);
});

test('eps is that of each batch normalisation', t => {
  const still = {
    gamma: Float32Array.of(3),
    beta: Float32Array.of(1),
    mean: Float32Array.of(2),
    variance: new Float32Array(1),
  };
  const convolution1 = {kernelSize: 1, weight: Float32Array.of(1), bias: null} as const;
  t.deepEqual(fuseBatchNorm(convolution1, {...still, eps: 0.25}).weight, Float64Array.of(6));
  t.deepEqual(fuseBatchNorm(convolution1, {...still, eps: 0.25}).bias, Float64Array.of(-11));
  t.deepEqual(fuseBatchNorm(convolution1, {...still, eps: 4}).weight, Float64Array.of(1.5));
});

test('a block is rounded once', t => {
  // 1 + 2^-24 + 2^-24: each addition alone would round back to 1 in float32.
  const unit = (scale: number): BatchNorm => ({
    gamma: Float64Array.of(scale),
    beta: Float64Array.of(0),
    mean: Float64Array.of(0),
    variance: Float64Array.of(1),
    eps: 0,
  });
  const kernel = new Float32Array(9);
  kernel[4] = 1;
  const block: TrainBlock = {
    ...goldenBlock(),
    shape: {...goldenBlock().shape, inChannels: 1, outChannels: 1},
    dense: {weight: kernel, bias: null, batchNorm: unit(1)},
    pointwise: {weight: Float32Array.of(1), bias: null, batchNorm: unit(2 ** -24)},
    identity: unit(2 ** -24),
  };
  t.is(fuseInOnePass(block).weight[4], 1 + 2 ** -23);
});

const networks: [string, Architecture, 'official' | 'plus'][] = [
  ['a grouped network', smallNetwork, 'official'],
  [
    'squeeze-and-excite before the ReLU',
    {...smallNetwork, squeezeExcite: {position: 'before-relu', reduction: 4}},
    'official',
  ],
  [
    'squeeze-and-excite after the ReLU',
    {...smallNetwork, squeezeExcite: {position: 'after-relu', reduction: 4}},
    'plus',
  ],
];

for (const [name, architecture, project] of networks) {
  test(`fused in float64, ${name} computes what its branches do to 1e-12`, async t => {
    const network = networkFromCheckpoint(memoryCheckpoint(stateDict(architecture, project, 'train')));
    const linear = await network.linear();
    const trained = (await collect(network.blocks('train'))) as TrainBlock[];
    const fused = trained.map(({shape, squeezeExcite, ...branches}): FusedBlock => {
      const {weight, bias} = fuseBlock({shape, squeezeExcite, ...branches});
      return {form: 'deploy', shape, weight, bias, squeezeExcite};
    });
    const size = {height: 48, width: 40, position: architecture.squeezeExcite?.position};
    const input = new Random('pixels').uniform(3 * size.height * size.width, -2, 2);
    const expected = await forward64(trained, linear, input, size);
    const exact = await forward64(fused, linear, input, size);
    t.true(expected.logits!.every(logit => Number.isFinite(logit)));
    t.true(Math.hypot(...expected.logits!) > 1e-3);
    t.true(relativeL2(exact.logits!, expected.logits!) <= 1e-12);
    t.true(relativeL2(exact.embedding, expected.embedding) <= 1e-12);

    const rounded = await forward64(network.blocks('deploy'), linear, input, size);
    const error = relativeL2(rounded.logits!, expected.logits!);
    t.true(error > 0 && error < 1e-6);
  });
}
