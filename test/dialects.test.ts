import test, {type ExecutionContext} from 'ava';
import {type Architecture, architectureByName, architectureNames} from '../ts/architecture.ts';
import type {TensorInfo} from '../ts/checkpoint/checkpoint.ts';
import {type NetworkFromCheckpointOptions, networkFromCheckpoint} from '../ts/checkpoint/network.ts';
import type {RepVGGErrorCode} from '../ts/errors.ts';
import type {DeployBlock, NetworkParameters, TrainBlock} from '../ts/network.ts';
import {
  collect,
  memoryCheckpoint,
  type Project,
  randomTensor,
  smallNetwork,
  stateDict,
  tensor,
} from './checkpoints.ts';

function load(tensors: Iterable<TensorInfo>, options?: NetworkFromCheckpointOptions): NetworkParameters {
  return networkFromCheckpoint(memoryCheckpoint(tensors), options);
}

/** A state dict with one tensor replaced, or removed for null. */
function edit(tensors: TensorInfo[], name: string, replacement: TensorInfo | null): TensorInfo[] {
  if (!tensors.some(info => info.name === name))
    throw new Error(`the test names ${name}, which does not exist`);
  return tensors.flatMap(info => (info.name === name ? (replacement ?? []) : info));
}

async function withValue(
  tensors: TensorInfo[],
  name: string,
  index: number,
  value: number,
): Promise<TensorInfo[]> {
  const info = tensors.find(found => found.name === name)!;
  const values = await info.read();
  values[index] = value;
  return edit(tensors, name, tensor(name, info.shape, values));
}

/** Expects an error from names and shapes alone. */
function refuse(
  t: ExecutionContext,
  tensors: TensorInfo[],
  code: RepVGGErrorCode,
  parts: string[],
  options?: NetworkFromCheckpointOptions,
): void {
  const unread = tensors.map(info => ({
    ...info,
    read: async () => {
      throw new Error('read before the structure was checked');
    },
  }));
  const {message} = t.throws(() => load(unread, options), {code});
  for (const part of ['memory.pth', ...parts]) t.true(message.includes(part), `${part} in: ${message}`);
}

/** Expects an error while values are read. */
async function refuseValue(t: ExecutionContext, tensors: TensorInfo[], parts: string[]): Promise<void> {
  const network = load(tensors);
  const read = async (): Promise<void> => {
    await collect(network.blocks('deploy'));
    await network.linear();
  };
  const {message} = await t.throwsAsync(read, {code: 'ERR_CHECKPOINT_VALUE'});
  for (const part of ['memory.pth', ...parts]) t.true(message.includes(part), `${part} in: ${message}`);
}

const small = stateDict(smallNetwork, 'official', 'train');
const smallDeploy = stateDict(smallNetwork, 'official', 'deploy');
const smallSe: Architecture = {...smallNetwork, squeezeExcite: {position: 'before-relu', reduction: 4}};

for (const name of architectureNames) {
  const architecture = architectureByName(name);
  const projects: Project[] = name === 'RepVGGplus-L2pse' ? ['plus'] : ['official', 'timm'];
  test(`${name} is recognised under the names of ${projects.join(' and ')}, in both forms`, t => {
    for (const project of projects) {
      for (const form of ['train', 'deploy'] as const) {
        const network = load(stateDict(architecture, project, form));
        t.deepEqual(network.architecture, architecture);
        t.is(network.storedForm, form);
      }
    }
  });
}

test('all parameters of a block come from the tensors of their names', async t => {
  for (const [project, architecture, names] of [
    [
      'official',
      smallSe,
      [
        'stage3.1',
        'rbr_dense.conv',
        'rbr_dense.bn',
        'rbr_1x1.conv',
        'rbr_1x1.bn',
        'rbr_identity',
        'se.down',
        'se.up',
        'linear',
      ],
    ],
    [
      'timm',
      smallSe,
      [
        'stages.2.1',
        'conv_kxk.conv',
        'conv_kxk.bn',
        'conv_1x1.conv',
        'conv_1x1.bn',
        'identity',
        'attn.fc1',
        'attn.fc2',
        'head.fc',
      ],
    ],
    [
      'plus',
      {...smallSe, squeezeExcite: {position: 'after-relu', reduction: 4}},
      [
        'stage3_second.blocks.0',
        'rbr_dense.conv',
        'rbr_dense.bn',
        'rbr_1x1.conv',
        'rbr_1x1.bn',
        'rbr_identity',
        'post_se.down',
        'post_se.up',
        'linear',
      ],
    ],
  ] as const) {
    const [block, dense, denseBn, pointwise, pointwiseBn, identity, down, up, linear] = names;
    const tensors = stateDict(architecture, project, 'train');
    const read = (name: string): Promise<ArrayLike<number>> =>
      tensors.find(info => info.name === name)!.read() as never;
    const batchNorm = async (module: string): Promise<object> => ({
      gamma: await read(`${block}.${module}.weight`),
      beta: await read(`${block}.${module}.bias`),
      mean: await read(`${block}.${module}.running_mean`),
      variance: await read(`${block}.${module}.running_var`),
      eps: 1e-5,
    });
    const network = load(tensors);
    t.deepEqual(network.architecture, architecture);
    const blocks = (await collect(network.blocks('train'))) as TrainBlock[];
    t.is(blocks.length, 9);
    // Block 6 is the second of stage 3: the first of its second half, in RepVGGplus.
    const {
      dense: actualDense,
      pointwise: actualPointwise,
      identity: actualIdentity,
      squeezeExcite,
      shape,
    } = blocks[6]!;
    t.like(shape, {stage: 3, position: 1, groups: 2, identity: true, squeezeChannels: 4});
    t.deepEqual(actualDense as object, {
      weight: await read(`${block}.${dense}.weight`),
      bias: null,
      batchNorm: await batchNorm(denseBn),
    });
    t.deepEqual(actualPointwise as object, {
      weight: await read(`${block}.${pointwise}.weight`),
      bias: null,
      batchNorm: await batchNorm(pointwiseBn),
    });
    t.deepEqual(actualIdentity as object, await batchNorm(identity));
    t.deepEqual(squeezeExcite as object, {
      downWeight: await read(`${block}.${down}.weight`),
      downBias: await read(`${block}.${down}.bias`),
      upWeight: await read(`${block}.${up}.weight`),
      upBias: await read(`${block}.${up}.bias`),
    });
    t.deepEqual((await network.linear()) as object, {
      weight: await read(`${linear}.weight`),
      bias: await read(`${linear}.bias`),
    });
  }
});

test('a deploy form is read as it is, and cannot be had as train', async t => {
  const network = load(smallDeploy);
  const blocks = (await collect(network.blocks('deploy'))) as DeployBlock[];
  const read = (name: string): Promise<unknown> => smallDeploy.find(info => info.name === name)!.read();
  t.deepEqual(blocks[2]!.weight as unknown, await read('stage1.1.rbr_reparam.weight'));
  t.deepEqual(blocks[2]!.bias as unknown, await read('stage1.1.rbr_reparam.bias'));
  t.throws(() => network.blocks('train'), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /memory\.pth is already fused/,
  });
});

test('blocks are read one at a time, and others get their turn in between', async t => {
  let reads = 0;
  const counted = small.map(info => ({
    ...info,
    read() {
      reads++;
      return info.read();
    },
  }));
  const network = load(counted);
  t.is(reads, 0);
  const blocks = network.blocks('deploy')[Symbol.asyncIterator]();
  await blocks.next();
  t.is(reads, 10);
  await blocks.next();
  t.is(reads, 20);

  let turns = 0;
  const turn = (): void => {
    turns++;
    waiting = setImmediate(turn);
  };
  let waiting = setImmediate(turn);
  while (!(await blocks.next()).done);
  clearImmediate(waiting);
  t.is(reads, 9 * 10 + 4 * 4);
  t.true(turns >= 7, `${turns}`);
});

test('a network of one’s own is described by its own shapes', t => {
  const network = load(small);
  t.deepEqual(network.architecture, smallNetwork);
  t.deepEqual(load(small, {architecture: smallNetwork}).architecture, smallNetwork);
  const named = {...smallNetwork, name: 'digits'};
  t.is(load(small, {architecture: named}).architecture.name, 'digits');
});

test('a reduction is the official one where it fits, and found from the widths elsewhere', t => {
  // 40 channels have 2 hidden ones at a reduction of 16 too, which alone fits the 80 and 5 of stage 2.
  const official = {position: 'before-relu', reduction: 16} as const;
  const odd = {...smallNetwork, widths: [40, 40, 80, 80, 80], squeezeExcite: official} as const;
  t.deepEqual(load(stateDict(odd, 'timm', 'deploy')).architecture, odd);
  for (const reduction of [2, 8]) {
    const architecture = {...smallNetwork, squeezeExcite: {position: 'before-relu', reduction}} as const;
    t.deepEqual(load(stateDict(architecture, 'timm', 'deploy')).architecture, architecture);
  }
});

test('a named variant can have any number of classes, or none', async t => {
  const tuned = {...architectureByName('A0'), numClasses: 10};
  for (const options of [{}, {architecture: 'repvgg_a0'}, {architecture: tuned}]) {
    t.deepEqual(load(stateDict(tuned, 'official', 'deploy'), options).architecture, tuned);
  }
  const backbone = {...tuned, numClasses: 0};
  for (const options of [{}, {architecture: 'A0'}]) {
    const network = load(stateDict(backbone, 'timm', 'train'), options);
    t.deepEqual(network.architecture, backbone);
    t.is(await network.linear(), null);
  }
});

test('batch counters are optional and auxiliary classifiers ignored', t => {
  const plus = stateDict(
    {...smallSe, squeezeExcite: {position: 'after-relu', reduction: 4}},
    'plus',
    'train',
  );
  t.true(plus.some(({name}) => name === 'stage3_first_aux.0.conv.weight'));
  t.is(load(plus).storedForm, 'train');
  t.is(load(plus.filter(({name}) => !name.includes('num_batches_tracked'))).storedForm, 'train');
  t.is(load(plus.filter(({name}) => !name.includes('_aux.'))).storedForm, 'train');
  const withAux = [...small, randomTensor('stage1_aux.3.weight', [10, 8])];
  refuse(t, withAux, 'ERR_CHECKPOINT_EXTRA_TENSOR', ['"stage1_aux.3.weight"']);
});

test('squeeze-and-excite can be stored as linear layers and statistics as maps', async t => {
  const tensors = stateDict(smallSe, 'official', 'train');
  const reshaped = tensors.map(info => {
    if (info.name.includes('.se.')) return {...info, shape: info.shape.slice(0, 2)};
    if (info.name.includes('running_')) return {...info, shape: [1, ...info.shape, 1, 1]};
    return info;
  });
  const expected = await collect(load(tensors).blocks('deploy'));
  t.deepEqual(await collect(load(reshaped).blocks('deploy')), expected);
});

test('a convolution of the train form may have a bias', async t => {
  const bias = randomTensor('stage1.1.rbr_dense.conv.bias', [8]);
  const [, , plain] = (await collect(load(small).blocks('deploy'))) as DeployBlock[];
  const network = load([...small, bias]);
  const [, , biased] = (await collect(network.blocks('deploy'))) as DeployBlock[];
  const [, , trained] = (await collect(network.blocks('train'))) as TrainBlock[];
  t.deepEqual(trained!.dense.bias as unknown, await bias.read());
  const {gamma, variance} = trained!.dense.batchNorm;
  for (let c = 0; c < 8; c++) {
    const term = (trained!.dense.bias![c]! * gamma[c]!) / Math.sqrt(variance[c]! + 1e-5);
    t.true(Math.abs(biased!.bias[c]! - plain!.bias[c]! - term) < 1e-6);
  }
});

test('float64 tensors are fused before they are rounded', async t => {
  const name = 'stage1.0.rbr_dense.conv.weight';
  const third = new Float64Array(8 * 8 * 9).fill(1 / 3);
  const tensors = edit(small, name, tensor(name, [8, 8, 3, 3], third, 'f64'));
  const [, trained] = (await collect(load(tensors).blocks('train'))) as TrainBlock[];
  t.deepEqual(trained!.dense.weight, third);
  const [, fused] = (await collect(load(tensors).blocks('deploy'))) as DeployBlock[];
  const {gamma, variance} = trained!.dense.batchNorm;
  t.is(fused!.weight[0], Math.fround((gamma[0]! / Math.sqrt(variance[0]! + 1e-5)) * (1 / 3)));
  const linear = tensor('linear.bias', [10], new Float64Array(10).fill(1 / 3), 'f64');
  t.is((await load(edit(small, 'linear.bias', linear)).linear())!.bias[0], Math.fround(1 / 3));
});

test('a file of something else is told from a RepVGG network', t => {
  const code = 'ERR_CHECKPOINT_UNSUPPORTED';
  const resnet = ['conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight', 'linear.weight', 'head.fc.weight'];
  refuse(
    t,
    resnet.map(name => randomTensor(name, [8, 8])),
    code,
    ['5 tensors such as "conv1.weight"', '"stage0.rbr_dense.conv.weight" (official)', '(timm)'],
  );
  refuse(t, [], code, ['received no tensor']);
});

test('a quantised network is refused', t => {
  const name = 'stage2.0.rbr_reparam.weight';
  const int8 = tensor(name, [12, 8, 3, 3], new Float32Array(12 * 8 * 9), 'i8');
  // Block 3 is odd and so dense.
  refuse(t, edit(smallDeploy, name, int8), 'ERR_CHECKPOINT_UNSUPPORTED', [name, 'received i8']);
});

test('a missing tensor is named', t => {
  const code = 'ERR_CHECKPOINT_MISSING_TENSOR';
  for (const name of [
    'stage0.rbr_dense.conv.weight',
    'stage1.1.rbr_dense.conv.weight',
    'stage1.0.rbr_dense.bn.running_var',
    'stage2.1.rbr_identity.bias',
    'stage3.0.rbr_1x1.conv.weight',
    'linear.bias',
  ]) {
    refuse(t, edit(small, name, null), code, [`"${name}"`]);
  }
  const renamed = randomTensor('linear.offset', [10]);
  refuse(t, edit(small, 'linear.bias', renamed), code, ['"linear.bias"']);
  refuse(t, edit(smallDeploy, 'stage4.0.rbr_reparam.bias', null), code, ['"stage4.0.rbr_reparam.bias"']);
  const without = (prefix: string): TensorInfo[] => small.filter(({name}) => !name.startsWith(prefix));
  refuse(t, without('stage3.1.'), code, ['"stage3.1.rbr_dense.conv.weight"']);
  refuse(t, without('stage4.'), code, ['"stage4.0.*"']);
  refuse(t, without('stage0.'), code, ['"stage0.rbr_dense.conv.weight"']);
  // An identity branch belongs to every block of stride 1 and equal channels.
  refuse(t, without('stage1.1.rbr_identity'), code, ['"stage1.1.rbr_identity.weight"']);
  const squeezed = stateDict(smallSe, 'official', 'train').filter(
    ({name}) => !name.startsWith('stage2.0.se.'),
  );
  refuse(t, squeezed, code, ['"stage2.0.se.down.weight"']);
  // Fused in part.
  const mixed = edit(
    small,
    'stage1.0.rbr_dense.conv.weight',
    smallDeploy.find(({name}) => name === 'stage1.0.rbr_reparam.weight')!,
  );
  refuse(t, mixed, code, ['"stage0.rbr_reparam.weight"']);
});

test('an extra tensor is named', t => {
  const code = 'ERR_CHECKPOINT_EXTRA_TENSOR';
  for (const name of [
    'stage1.0.extra.weight',
    'stage0.rbr_dense.conv.mask',
    'backbone.stage0.weight',
    'epoch',
    'stage1.01.rbr_dense.conv.weight',
    'stage1.4294967295.rbr_dense.conv.weight',
  ]) {
    refuse(t, [...small, randomTensor(name, [8])], code, [`"${name}"`]);
  }
  // Block 0 of stage 1 has equal channels but stride 2: no identity.
  const identity = ['weight', 'bias', 'running_mean', 'running_var'].map(name =>
    randomTensor(`stage1.0.rbr_identity.${name}`, [8]),
  );
  refuse(t, [...small, ...identity], code, ['"stage1.0.rbr_identity.weight"']);
  refuse(
    t,
    small.filter(({name}) => name !== 'linear.weight'),
    code,
    ['"linear.bias"'],
  );
  refuse(t, [...small, randomTensor('stage1.0.se.up.weight', [8, 2, 1, 1])], code, [
    '"stage1.0.se.up.weight"',
  ]);
});

test('a tensor of the wrong shape is named, with the shape that it should have', t => {
  const code = 'ERR_CHECKPOINT_SHAPE';
  const cases: [name: string, shape: number[], expected: string][] = [
    ['stage0.rbr_dense.conv.weight', [8, 1, 3, 3], '[8, 3, 3, 3]'],
    ['stage0.rbr_dense.conv.weight', [8, 3, 3], '[8, 3, 3, 3]'],
    ['stage0.rbr_dense.conv.weight', [8], '[out, in, 3, 3]'],
    ['stage0.rbr_dense.conv.weight', [8, 3, 5, 5], '[8, 3, 3, 3]'],
    ['stage0.rbr_dense.conv.weight', [0, 3, 3, 3], '[out, in, 3, 3]'],
    ['stage0.rbr_1x1.conv.weight', [8, 3, 3, 3], '[8, 3, 1, 1]'],
    ['stage2.1.rbr_dense.conv.weight', [16, 6, 3, 3], '[12, 6, 3, 3]'],
    ['stage1.0.rbr_1x1.bn.running_mean', [9], '[8]'],
    ['stage1.1.rbr_identity.weight', [4], '[8]'],
    ['linear.weight', [10, 23], '[10, 24]'],
    ['linear.weight', [0, 24], '[0, 24]'],
    ['linear.bias', [11], '[10]'],
  ];
  for (const [name, shape, expected] of cases) {
    const parts = [`"${name}"`, `Expected shape ${expected}`, `received [${shape.join(', ')}]`];
    refuse(t, edit(small, name, randomTensor(name, shape)), code, parts);
  }
  const squeezed = stateDict(smallSe, 'official', 'train');
  const down = 'stage2.1.se.down.weight';
  refuse(t, edit(squeezed, down, randomTensor(down, [5, 12, 1, 1])), code, [
    down,
    '[3, 12, 1, 1]',
    '[5, 12, 1, 1]',
  ]);
});

test('groups belong to the even blocks, all of them and no others', t => {
  const code = 'ERR_CHECKPOINT_SHAPE';
  const name = (block: string): string => `${block}.rbr_reparam.weight`;
  const dense = randomTensor(name('stage2.1'), [12, 12, 3, 3]);
  refuse(t, edit(smallDeploy, dense.name, dense), code, [`"${dense.name}"`, 'Expected shape [12, 6, 3, 3]']);
  const grouped = randomTensor(name('stage3.0'), [16, 6, 3, 3]);
  refuse(t, edit(smallDeploy, grouped.name, grouped), code, [
    `"${grouped.name}"`,
    'Expected shape [16, 12, 3, 3]',
  ]);
  const uneven = randomTensor(name('stage1.1'), [8, 3, 3, 3]);
  refuse(t, edit(smallDeploy, uneven.name, uneven), code, [`"${uneven.name}"`]);
  // 12 input channels do make 2 groups, but 25 output channels do not.
  const odd = stateDict(
    {...smallNetwork, numBlocks: [1, 2, 3, 1], widths: [8, 8, 12, 25, 24]},
    'official',
    'deploy',
  );
  refuse(t, odd, code, ['"stage3.0.rbr_reparam.weight"', 'whole groups', '[25, 6, 3, 3]']);
});

test('a checkpoint that is not the asked architecture says where it differs', t => {
  const code = 'ERR_ARCHITECTURE_MISMATCH';
  const a1 = architectureByName('A1');
  const variants: [Partial<Architecture>, string][] = [
    [{widths: [64, 64, 96, 256, 1280]}, 'stage2.0 has 96 output channels, RepVGG-A1 has 128'],
    [{widths: [48, 64, 128, 256, 1280]}, 'stage0 has 48 output channels, RepVGG-A1 has 64'],
    [{numBlocks: [2, 4, 13, 1]}, 'stage3 has 13 blocks, RepVGG-A1 has 14'],
    [{numBlocks: [1, 4, 14, 1]}, 'stage1 has 1 block, RepVGG-A1 has 2'],
    [{groups: 4}, 'stage1.1 has groups = 4, RepVGG-A1 has 1'],
    [
      {squeezeExcite: {position: 'before-relu', reduction: 16}},
      'stage0 has 4 squeeze-and-excite channels, RepVGG-A1 has 0',
    ],
  ];
  for (const [change, part] of variants) {
    const tensors = stateDict({...a1, ...change}, 'official', 'deploy');
    refuse(t, tensors, code, ['Expected RepVGG-A1', part], {architecture: 'A1'});
  }
  refuse(t, smallDeploy, code, ['it has 10 classes, custom has 11'], {
    architecture: {...smallNetwork, numClasses: 11},
  });
  const after: Architecture = {
    ...smallSe,
    name: 'mine',
    squeezeExcite: {position: 'after-relu', reduction: 4},
  };
  refuse(
    t,
    stateDict(smallSe, 'official', 'deploy'),
    code,
    ['its squeeze-and-excite is before-relu, mine has it after-relu'],
    {architecture: after},
  );
  t.throws(() => load(small, {architecture: 'A9'}), {code: 'ERR_ARCHITECTURE_UNKNOWN'});
});

test('values that no network can have are named with their place', async t => {
  for (const [name, value] of [
    ['stage1.0.rbr_dense.conv.weight', Number.NaN],
    ['stage0.rbr_1x1.conv.weight', Number.POSITIVE_INFINITY],
    ['stage2.1.rbr_identity.running_mean', Number.NEGATIVE_INFINITY],
    ['linear.weight', Number.NaN],
  ] as const) {
    await refuseValue(t, await withValue(small, name, 5, value), [`"${name}"`, `${value} at index 5`]);
  }
  const fused = 'stage1.0.rbr_reparam.weight';
  await refuseValue(t, await withValue(smallDeploy, fused, 7, Number.NaN), [`"${fused}"`, 'NaN at index 7']);
  const squeezed = await withValue(
    stateDict(smallSe, 'timm', 'train'),
    'stages.0.0.attn.fc2.bias',
    1,
    Number.NaN,
  );
  await refuseValue(t, squeezed, ['"stages.0.0.attn.fc2.bias"', 'NaN at index 1']);
});

test('a variance must be positive with its eps', async t => {
  const name = 'stage1.1.rbr_identity.running_var';
  await refuseValue(t, await withValue(small, name, 3, -0.5), [`"${name}"`, '-0.5 at index 3']);
  await refuseValue(t, await withValue(small, name, 3, -2e-5), [`"${name}"`, 'at index 3']);
  await t.notThrowsAsync(collect(load(await withValue(small, name, 3, 0)).blocks('deploy')));
});

test('values beyond float32 are named, stored or fused', async t => {
  const bias = tensor('linear.bias', [10], new Float64Array(10).fill(1e39), 'f64');
  await refuseValue(t, edit(small, 'linear.bias', bias), ['"linear.bias"', 'Infinity at index 0']);
  const gamma = await withValue(small, 'stage1.0.rbr_dense.bn.weight', 2, 3e38);
  const variance = await withValue(gamma, 'stage1.0.rbr_dense.bn.running_var', 2, 0);
  await refuseValue(t, variance, ['"stage1.0.rbr_reparam.weight"', `Infinity at index ${2 * 8 * 9}`]);
  const mean = await withValue(small, 'stage1.0.rbr_1x1.bn.running_mean', 1, 3e38);
  const meanAndVariance = await withValue(mean, 'stage1.0.rbr_1x1.bn.running_var', 1, 0);
  await refuseValue(t, meanAndVariance, ['"stage1.0.rbr_reparam.bias"', 'Infinity at index 1']);
});
