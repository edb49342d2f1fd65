/** Every way in which a checkpoint can fail to be the network that it should be. */
import test, {type ExecutionContext} from 'ava';
import {type Architecture, architectureByName} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {checkpointStructure, type StructureOptions} from '../../ts/checkpoint/structure.ts';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import type {DeployBlock, Form, NetworkParameters} from '../../ts/network.ts';
import {
  collect,
  edit,
  memoryCheckpoint,
  networkFromCheckpoint,
  randomTensor,
  smallNetwork,
  stateDict,
  tensor,
} from '../checkpoints.ts';

function load(tensors: Iterable<TensorInfo>, options?: StructureOptions): NetworkParameters {
  return networkFromCheckpoint(memoryCheckpoint(tensors), options);
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
  options?: StructureOptions,
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
async function refuseValue(
  t: ExecutionContext,
  tensors: TensorInfo[],
  parts: string[],
  form: Form = 'deploy',
): Promise<void> {
  const network = load(tensors);
  const read = async (): Promise<void> => {
    await collect(network.blocks(form));
    await network.linear();
  };
  const {message} = await t.throwsAsync(read, {code: 'ERR_CHECKPOINT_VALUE'});
  for (const part of ['memory.pth', ...parts]) t.true(message.includes(part), `${part} in: ${message}`);
}

const small = stateDict(smallNetwork, 'official', 'train');
const smallDeploy = stateDict(smallNetwork, 'official', 'deploy');
const smallSe: Architecture = {...smallNetwork, squeezeExcite: {position: 'before-relu', reduction: 4}};

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

test('QARepVGG with squeeze-and-excite cannot be fused', t => {
  for (const [name, pointwise] of [
    ['QARepVGG', 'rbr_1x1'],
    ['QARepVGG, first version', 'rbr_1x1.conv'],
  ] as const) {
    const isFirst = pointwise === 'rbr_1x1.conv';
    const se = stateDict(smallSe, 'official', 'train')
      .filter(({name}) => isFirst || !/rbr_1x1\.bn|rbr_identity/.test(name))
      .map(info => ({...info, name: info.name.replace('rbr_1x1.conv', pointwise)}));
    const blocks = [...new Set(se.map(({name}) => /^stage(0|\d\.\d)/.exec(name)?.[0]))].filter(
      block => block,
    );
    const norms = blocks.flatMap(block => {
      const channels = se.find(({name}) => name === `${block}.rbr_dense.conv.weight`)!.shape[0]!;
      return ['weight', 'bias', 'running_mean', 'running_var'].map(leaf =>
        randomTensor(`${block}.bn.${leaf}`, [channels]),
      );
    });
    const parts = [
      `Expected a ${name} network without squeeze-and-excite`,
      'received also "stage0.se.down.weight"',
      'cannot be fused; train it without them',
    ];
    refuse(t, [...se, ...norms], 'ERR_CHECKPOINT_UNSUPPORTED', parts);
    const plain = [...se, ...norms].filter(info => !info.name.includes('.se.'));
    t.is(checkpointStructure(memoryCheckpoint(plain)).dialect.name, name);
  }
});

test('a quantised network is refused', t => {
  const name = 'stage2.0.rbr_reparam.weight';
  const int8 = tensor(name, [12, 8, 3, 3], new Float32Array(12 * 8 * 9), 'i8');
  // Block 3 is odd and so dense.
  refuse(t, edit(smallDeploy, name, int8), 'ERR_CHECKPOINT_UNSUPPORTED', [name, 'received i8']);
});

test('tensors that something else has made of the network’s are told what of', t => {
  const missing = 'ERR_CHECKPOINT_MISSING_TENSOR';
  const name = 'stage2.0.rbr_dense.conv.weight';
  const replaced = (...names: string[]): TensorInfo[] => [
    ...edit(small, name, null),
    ...names.map(name => randomTensor(name, [12, 8, 3, 3])),
  ];
  const module = 'stage2.0.rbr_dense.conv';
  refuse(t, replaced(`${module}.weight_orig`, `${module}.weight_mask`), missing, [name, 'prune.remove(']);
  const parametrised = [0, 1].map(i => `${module}.parametrizations.weight.original${i}`);
  refuse(t, replaced(...parametrised), missing, [name, 'remove_parametrizations(']);
  refuse(t, replaced(`${module}.weight_g`, `${module}.weight_v`), missing, [name, 'remove_weight_norm(']);
  const observed = randomTensor('stage0.rbr_reparam.weight_fake_quant.scale', [1]);
  const before = 'which quantisation-aware training adds: save the network before';
  refuse(t, [...smallDeploy, observed], 'ERR_CHECKPOINT_EXTRA_TENSOR', [observed.name, before]);
  const gathered = ['received [0]', 'ZeRO-3', 'zero_to_fp32.py FOLDER OUT'];
  const empty = randomTensor('stage0.rbr_dense.conv.weight', [0]);
  refuse(t, edit(small, empty.name, empty), 'ERR_CHECKPOINT_SHAPE', gathered);
});

test('a network within a module, beside whatever else that has', t => {
  const code = 'ERR_CHECKPOINT_EXTRA_TENSOR';
  const within = (prefix: string): TensorInfo[] =>
    small.map(info => ({...info, name: `${prefix}${info.name}`}));
  const save = '{k.removeprefix("model."): v for k, v in state_dict.items() if k.startswith("model.")}';
  const loss = randomTensor('criterion.weight', [10]);
  refuse(t, [...within('model.'), loss], code, ['beside those of "model."', '"criterion.weight"', save]);
  refuse(t, [...within('model.'), ...within('ema.')], code, ['"ema.stage0.rbr_dense.conv.weight"', save]);
  const deep = ['"a.b.c.d.e."', 'deeper than they are looked for', 'k.removeprefix("a.b.c.d.e.")'];
  refuse(t, within('a.b.c.d.e.'), 'ERR_CHECKPOINT_UNSUPPORTED', deep);
});

test('a missing tensor is named', t => {
  const code = 'ERR_CHECKPOINT_MISSING_TENSOR';
  for (const name of [
    'stage0.rbr_dense.conv.weight',
    'stage1.1.rbr_dense.conv.weight',
    'stage1.0.rbr_dense.bn.running_var',
    'stage2.1.rbr_identity.bias',
    'stage3.0.rbr_1x1.conv.weight',
    'linear.weight',
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
  refuse(t, [...small, randomTensor('stage1_aux.3.weight', [10, 8])], code, ['"stage1_aux.3.weight"']);
  // Block 0 of stage 1 has equal channels but stride 2: no identity.
  const identity = ['weight', 'bias', 'running_mean', 'running_var'].map(name =>
    randomTensor(`stage1.0.rbr_identity.${name}`, [8]),
  );
  refuse(t, [...small, ...identity], code, ['"stage1.0.rbr_identity.weight"']);
  for (const name of ['stage1.0.se.up.weight', 'stage1.0.se.down.weight']) {
    refuse(t, [...small, randomTensor(name, [8, 8, 1, 1])], code, [`"${name}"`]);
  }
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
  refuse(t, smallDeploy, code, ['it has 10 classes, the given architecture has 11'], {
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

test('what is no architecture is refused as one', t => {
  const {widths, ...rest} = smallNetwork;
  const whole = 'a name or an architecture as defineArchitecture() returns it for architecture';
  for (const [architecture, expected] of [
    [null, whole],
    [7, whole],
    [[], whole],
    [{}, 'a string for architecture.name'],
    [rest, 'an array of 5 positive integers for architecture.widths'],
    [{...rest, widths: [8]}, 'an array of 5 positive integers for architecture.widths'],
    [{...smallNetwork, widths: [8, 8, 0, 8, 8]}, 'positive integers for architecture.widths'],
    [{...smallNetwork, groups: 0}, 'a positive integer for architecture.groups'],
    [{...smallNetwork, squeezeExcite: undefined}, '"before-relu" or "after-relu" for architecture.squeezeEx'],
  ] as const) {
    const code = 'ERR_INVALID_ARGUMENT';
    const {message} = t.throws(() => load(small, {architecture: architecture as never}), {code});
    t.true(message.startsWith(`Expected ${expected}`), message);
  }
  t.notThrows(() => load(small, {architecture: smallNetwork}));
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

test('a variance must not be negative', async t => {
  const name = 'stage1.1.rbr_identity.running_var';
  await refuseValue(t, await withValue(small, name, 3, -0.5), [`"${name}"`, '-0.5 at index 3']);
  await refuseValue(t, await withValue(small, name, 3, -1e-9), [`"${name}"`, 'at index 3']);
  await t.notThrowsAsync(collect(load(await withValue(small, name, 3, 0)).blocks('deploy')));
});

test('a network of which nothing but zeros is stored is refused, and one with some zeros is not', async t => {
  const zeros = (name: string, shape: readonly number[]): TensorInfo =>
    tensor(name, shape, new Float32Array(shape.reduce((product, size) => product * size, 1)));
  const erased = (tensors: TensorInfo[], names: RegExp): TensorInfo[] =>
    tensors.map(info => (names.test(info.name) ? zeros(info.name, info.shape) : info));
  const advice = 'only zeros, as if they were never written';
  await refuseValue(t, erased(small, /./), ['"stage0.rbr_dense.bn.running_var"', advice]);
  await refuseValue(t, erased(smallDeploy, /./), ['"stage0.rbr_reparam.weight"', advice]);
  await refuseValue(t, erased(smallDeploy, /^stage3\.1/), ['"stage3.1.rbr_reparam.weight"', advice]);
  const kernels = /\.conv\.weight/;
  for (const form of ['deploy', 'train'] as const) {
    await refuseValue(t, erased(small, kernels), ['"stage0.rbr_dense.conv.weight"', advice], form);
    const last = erased(small, /^stage4\.0.*conv\.weight/);
    await refuseValue(t, last, ['"stage4.0.rbr_dense.conv.weight"', advice], form);
  }
  const inserted = small
    .filter(({name}) => !/rbr_(1x1|identity)/.test(name))
    .map(info => ({...info, name: info.name.replace('rbr_dense', 'rbr_reparam')}));
  await refuseValue(t, erased(inserted, kernels), ['"stage0.rbr_reparam.conv.weight"', advice]);
  for (const harmless of [
    /bias|running_mean/,
    /rbr_identity\.weight/,
    /running_var/,
    /1x1\.conv/,
    /dense\.conv/,
  ])
    await t.notThrowsAsync(collect(load(erased(small, harmless)).blocks('deploy')));
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

test('values whose sum is beyond float32 are none', async t => {
  const kernel = 'stage1.0.rbr_dense.conv.weight';
  const two = await withValue(await withValue(small, kernel, 0, 1e38), kernel, 1, 1e38);
  const scaled = await withValue(two, 'stage1.0.rbr_dense.bn.running_var', 0, 1);
  const network = load(await withValue(scaled, 'stage1.0.rbr_dense.bn.weight', 0, 2.5));
  const [, block] = (await collect(network.blocks('deploy'))) as DeployBlock[];
  t.true(block!.weight[0]! > 2.4e38);
  t.is(block!.weight[0], block!.weight[1]);
});
