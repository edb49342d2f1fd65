/** What is peculiar to the names of single projects; that they are read at all is tried in checkpoint/projects.test.ts. */
import test, {type ExecutionContext} from 'ava';
import type {Architecture} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {officialStateDict} from '../../ts/checkpoint/official_state_dict.ts';
import type {StructureOptions} from '../../ts/checkpoint/structure.ts';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import type {DeployBlock, NetworkParameters, TrainBlock} from '../../ts/network.ts';
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
import {fuseBlock, roundToFloat32} from '../fusion/fusion_algebra.ts';
import {relativeL2} from '../reference64.ts';

function load(tensors: Iterable<TensorInfo>, options?: StructureOptions): NetworkParameters {
  return networkFromCheckpoint(memoryCheckpoint(tensors), options);
}

function refuse(t: ExecutionContext, tensors: TensorInfo[], code: RepVGGErrorCode, message: RegExp): void {
  t.throws(() => load(tensors), {code, message});
}

const small = stateDict(smallNetwork, 'official', 'train');
const smallDeploy = stateDict(smallNetwork, 'official', 'deploy');
const smallSe: Architecture = {...smallNetwork, squeezeExcite: {position: 'before-relu', reduction: 4}};

function renamed(tensors: readonly TensorInfo[], ...rules: [pattern: RegExp, text: string][]): TensorInfo[] {
  return tensors.map(info => ({
    ...info,
    name: rules.reduce((name, [pattern, text]) => name.replace(pattern, text), info.name),
  }));
}

const batchNorm = (module: string, channels: number): TensorInfo[] =>
  ['weight', 'bias', 'running_mean', 'running_var'].map(name =>
    randomTensor(`${module}.${name}`, [channels]),
  );

const blockNames = [...new Set(small.map(({name}) => /^stage0|^stage\d\.\d/.exec(name)?.[0]))].filter(
  name => name !== undefined,
);
const channelsOf = (block: string): number => smallNetwork.widths[Number(block.charAt(5))]!;

test('epsilon can be said, and is that of every batch normalisation', async t => {
  const network = load(small, {eps: 1e-3});
  const trained = (await collect(network.blocks('train'))) as TrainBlock[];
  const norms = trained.flatMap(({dense, pointwise, identity}) =>
    [dense.batchNorm, pointwise.batchNorm, identity].filter(norm => norm !== null),
  );
  t.is(norms.length, 22);
  t.true(norms.every(({eps}) => eps === 1e-3));
  const fused = (await collect(network.blocks('deploy'))) as DeployBlock[];
  const [usual] = (await collect(load(small).blocks('deploy'))) as DeployBlock[];
  t.deepEqual(fused[0]!.weight, roundToFloat32(fuseBlock(trained[0]!)).weight);
  t.notDeepEqual(fused[0]!.weight, usual!.weight);
  for (const eps of [0, 1, -1e-3, Number.NaN, '1e-3', null]) {
    t.throws(() => load(small, {eps: eps as number}), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^Expected a number between 0 and 1 for eps but received /,
    });
  }
});

test('a network is written only if its file is the same from the first block to the last', async t => {
  const changed = new Error('somebody wrote to it');
  const checkUnchanged = async (): Promise<void> => {
    throw changed;
  };
  const source = networkFromCheckpoint({...memoryCheckpoint(small), checkUnchanged});
  for (const form of ['train', 'deploy'] as const) {
    const tensors = await officialStateDict(source, form);
    const readAll = async (): Promise<void> => {
      for (const {values} of tensors) await values();
    };
    await t.throwsAsync(readAll, {is: changed}, form);
  }
});

test('a smaller epsilon than the official one is written as an equal network, whatever the variances', async t => {
  const eps = 1e-7;
  const name = 'stage1.0.rbr_dense.bn.running_var';
  const variance = [0, 1e-9, 1e-7, 9.9e-6, 1e-5, 1e-3, 0.5, 2];
  const source = load(edit(small, name, tensor(name, [8], Float32Array.from(variance))), {eps});
  const written = await officialStateDict(source, 'train');
  const tensors: TensorInfo[] = [];
  for (const {name, shape, values} of written) {
    const numbers = await values();
    tensors.push(tensor(name, shape, numbers));
    if (name.endsWith('running_var')) t.true(numbers.every(value => value >= 0));
  }
  const blocks = (await collect(source.blocks('deploy'))) as DeployBlock[];
  const again = (await collect(load(tensors).blocks('deploy'))) as DeployBlock[];
  for (const [i, {weight, bias}] of blocks.entries()) {
    t.true(relativeL2(again[i]!.weight, weight) < 1e-6);
    t.true(relativeL2(again[i]!.bias, bias) < 1e-6);
  }
  t.true(Math.max(...blocks[1]!.weight.map(Math.abs)) > 100); // It is these variances that make it so.
});

test('epsilon does not matter once fused', async t => {
  t.deepEqual(
    await collect(load(smallDeploy, {eps: 1e-3}).blocks('deploy')),
    await collect(load(smallDeploy).blocks('deploy')),
  );
});

// MindSpore: lists of one kernel per group.

const mindSpore = renamed(
  small.filter(({name}) => !name.includes('num_batches')),
  [/(rbr_(?:dense|1x1))\.conv/, '$1.0.convs.0'],
  [/(rbr_(?:dense|1x1))\.bn/, '$1.1'],
  [/((?:dense|1x1)\.1|identity)\.weight/, '$1.gamma'],
  [/((?:dense|1x1)\.1|identity)\.bias/, '$1.beta'],
  [/running_mean/, 'moving_mean'],
  [/running_var/, 'moving_variance'],
);

/** The kernels of even blocks, of two groups, in two halves. */
const split = mindSpore.flatMap(info => {
  const isGrouped = info.name.includes('.convs.') && /^stage(1\.1|2\.1|3\.1)/.test(info.name);
  if (!isGrouped) return info;
  const [rows, ...rest] = info.shape;
  const read = (from: number, to: number) => async (): Promise<Float32Array> => {
    const values = (await info.read()) as Float32Array;
    return values.slice(from * values.length, to * values.length);
  };
  const shape = [rows! / 2, ...rest];
  return [
    {...info, shape, read: read(0, 0.5)},
    {...info, name: info.name.replace('convs.0', 'convs.1'), shape, read: read(0.5, 1)},
  ];
});

test('the kernels of a list of groups are one kernel', async t => {
  t.is(split.length, mindSpore.length + 6);
  const network = load(split);
  t.deepEqual(network.architecture, smallNetwork);
  t.deepEqual(await collect(network.blocks('deploy')), await collect(load(small).blocks('deploy')));
});

test('a list of groups that lacks some is refused', t => {
  const name = 'stage2.1.rbr_dense.0.convs';
  refuse(
    t,
    edit(split, `${name}.1.weight`, null),
    'ERR_CHECKPOINT_SHAPE',
    /"stage2\.1\.rbr_dense\.0\.weight"/,
  );
  refuse(
    t,
    edit(split, `${name}.0.weight`, null),
    'ERR_CHECKPOINT_MISSING_TENSOR',
    /"stage2\.1\.rbr_dense\.0\.weight"/,
  );
  const odd = edit(split, `${name}.1.weight`, randomTensor(`${name}.1.weight`, [6, 5, 3, 3]));
  refuse(t, odd, 'ERR_CHECKPOINT_SHAPE', /"stage2\.1\.rbr_dense\.0\.weight"/);
  const whole = randomTensor('stage2.1.rbr_dense.0.weight', [12, 6, 3, 3]);
  refuse(t, [...split, whole], 'ERR_CHECKPOINT_EXTRA_TENSOR', /"stage2\.1\.rbr_dense\.0\.convs\.0\.weight"/);
});

// Paddle: a transposed classifier, and fused kernels beside the branches.

const paddle = renamed(
  small.filter(({name}) => !name.includes('num_batches')),
  [/running_mean/, '_mean'],
  [/running_var/, '_variance'],
);

function transposed(tensors: TensorInfo[], rows: number, columns: number): TensorInfo[] {
  const {read} = tensors.find(({name}) => name === 'linear.weight')!;
  return edit(tensors, 'linear.weight', {
    name: 'linear.weight',
    dtype: 'f32',
    shape: [columns, rows],
    async read() {
      const values = await read();
      return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
    },
  });
}

test('a transposed classifier is told by the names, and in fused networks by its bias', async t => {
  const expected = await load(small).linear();
  t.deepEqual(await load(transposed(paddle, 10, 24)).linear(), expected);
  t.deepEqual(await load(transposed(smallDeploy, 10, 24)).linear(), expected);
  // As many classes as channels.
  const square = stateDict({...smallNetwork, numClasses: 24}, 'official', 'train');
  const squarePaddle = renamed(square, [/running_mean/, '_mean'], [/running_var/, '_variance']).filter(
    ({name}) => !name.includes('num_batches'),
  );
  t.deepEqual(await load(transposed(squarePaddle, 24, 24)).linear(), await load(square).linear());
});

test('branches count where fused kernels are left beside them, which only Paddle does', async t => {
  const stale = [
    randomTensor('stage0.rbr_reparam.weight', [8, 3, 3, 3]),
    randomTensor('stage0.rbr_reparam.bias', [8]),
  ];
  const network = load([...transposed(paddle, 10, 24), ...stale]);
  t.is(network.storedForm, 'train');
  t.deepEqual(await collect(network.blocks('deploy')), await collect(load(small).blocks('deploy')));
  refuse(t, [...small, ...stale], 'ERR_CHECKPOINT_EXTRA_TENSOR', /"stage0\.rbr_reparam\.weight"/);
});

// Normalised sums.

const normalised = [...small, ...blockNames.flatMap(block => batchNorm(`${block}.bn`, channelsOf(block)))];

test('the normalisation of the sum is drawn into the branches', async t => {
  const [plain] = (await collect(load(small).blocks('deploy'))) as DeployBlock[];
  const [first] = (await collect(load(normalised).blocks('deploy'))) as DeployBlock[];
  const read = async (name: string): Promise<ArrayLike<number>> =>
    normalised.find(info => info.name === `stage0.bn.${name}`)!.read();
  const [gamma, variance] = [await read('weight'), await read('running_var')];
  const scale = gamma[0]! / Math.sqrt(variance[0]! + 1e-5);
  t.true(Math.abs(first!.weight[5]! - plain!.weight[5]! * scale) < 1e-6);
  t.not(first!.weight[5], plain!.weight[5]);
});

test('a normalisation of the sum that lacks a part is refused, and so is squeeze-and-excite before it', t => {
  const missing = 'ERR_CHECKPOINT_MISSING_TENSOR';
  refuse(t, edit(normalised, 'stage1.1.bn.running_var', null), missing, /"stage1\.1\.bn\.running_var"/);
  const gated = stateDict(smallSe, 'official', 'train').filter(({name}) => name.includes('.se.'));
  refuse(t, [...normalised, ...gated], 'ERR_CHECKPOINT_UNSUPPORTED', /"stage0\.se\.down\.weight"/);
  const inserted = renamed(
    smallDeploy.filter(({name}) => !name.endsWith('rbr_reparam.bias')),
    [/rbr_reparam/, 'rbr_reparam.conv'],
  );
  refuse(t, inserted, missing, /"stage0\.rbr_reparam\.conv\.bias"/);
  const norms = blockNames.flatMap(block => batchNorm(`${block}.rbr_reparam.bn`, channelsOf(block)));
  t.is(load([...inserted, ...norms]).storedForm, 'deploy');
  const lacking = edit([...inserted, ...norms], 'stage3.1.rbr_reparam.bn.weight', null);
  refuse(t, lacking, missing, /"stage3\.1\.rbr_reparam\.bn\.weight"/);
});

test('values of a normalised sum are checked too', async t => {
  const name = 'stage1.1.bn.running_var';
  const negative = tensor(name, [8], new Float32Array(8).fill(-1));
  await t.throwsAsync(collect(load(edit(normalised, name, negative)).blocks('deploy')), {
    code: 'ERR_CHECKPOINT_VALUE',
    message: /"stage1\.1\.bn\.running_var".*-1 at index 0/,
  });
});
