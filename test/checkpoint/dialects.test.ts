import {fileURLToPath} from 'node:url';
import test from 'ava';
import {type Architecture, architectureByName, architectureNames} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import type {StructureOptions} from '../../ts/checkpoint/structure.ts';
import type {DeployBlock, NetworkParameters, TrainBlock} from '../../ts/network.ts';
import {
  collect,
  edit,
  memoryCheckpoint,
  networkFromCheckpoint,
  type Project,
  randomTensor,
  smallNetwork,
  stateDict,
  tensor,
} from '../checkpoints.ts';

function load(tensors: Iterable<TensorInfo>, options?: StructureOptions): NetworkParameters {
  return networkFromCheckpoint(memoryCheckpoint(tensors), options);
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
    message: /all blocks of memory\.pth are already fused/,
  });
});

test('a network that is fused in part is read block by block, each in its own form', async t => {
  for (const project of ['official', 'timm'] as const) {
    const [train, deploy] = (['train', 'deploy'] as const).map(form => stateDict(smallSe, project, form)) as [
      TensorInfo[],
      TensorInfo[],
    ];
    const fused = project === 'official' ? /^(stage0|stage2\.1)\./ : /^(stem|stages\.1\.1)\./;
    const of = (tensors: TensorInfo[], isFused: boolean): TensorInfo[] =>
      tensors.filter(({name}) => fused.test(name) === isFused);
    const tensors = [...of(deploy, true), ...of(train, false)];
    const network = load(tensors, {eps: 1e-3});
    t.is(network.storedForm, 'deploy');
    t.deepEqual(network.architecture, smallSe);
    const expected = [
      await collect(load(train, {eps: 1e-3}).blocks('deploy')),
      await collect(load(deploy).blocks('deploy')),
    ];
    const isFused = [0, 4];
    t.deepEqual(
      await collect(network.blocks('deploy')),
      expected[0]!.map((block, i) => (isFused.includes(i) ? expected[1]![i]! : block)),
    );
    t.throws(() => network.blocks('train'), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /"deploy" \(2 of 9 blocks of memory\.pth are already fused\)/,
    });
    // The blocks that are as they were trained are held to it, and the others have nothing but what is fused.
    const [first] = of(deploy, true);
    const lacking = tensors.filter(({name}) => name !== first!.name);
    t.throws(() => load(lacking), {code: 'ERR_CHECKPOINT_MISSING_TENSOR'});
    const both = of(train, true).find(({name}) => /(dense|kxk)\.conv\.weight$/.test(name))!;
    t.throws(() => load([...tensors, both]), {code: 'ERR_CHECKPOINT_EXTRA_TENSOR'});
  }
});

test('modules that all tensors are within are no part of their names', async t => {
  const renamed = (names: (name: string) => string): TensorInfo[] =>
    small.map(info => ({...info, name: names(info.name)}));
  const expected = await collect(load(small).blocks('deploy'));
  for (const prefix of ['model.', 'trainer.student.net.', 'backbone.', 'stage0.']) {
    const network = load(renamed(name => prefix + name));
    t.deepEqual(await collect(network.blocks('deploy')), expected);
    t.is(network.architecture.numClasses, smallNetwork.numClasses);
  }
  t.throws(() => load(renamed(name => (name.startsWith('linear') ? name : `model.${name}`))), {
    code: 'ERR_CHECKPOINT_EXTRA_TENSOR',
    message: /beside those of "model\." received also "linear\.weight"/,
  });
  const [first] = small;
  t.throws(() => load([...small.slice(1).map(info => ({...info, name: `model.${info.name}`})), first!]), {
    code: 'ERR_CHECKPOINT_MISSING_TENSOR',
  });
});

test("what mmcv averages beside mmpretrain's weights is ignored", async t => {
  const path = fileURLToPath(new URL('../fixtures/dialects/plain.mmpretrain.pth', import.meta.url));
  await using file = await openCheckpoint(path);
  const average = randomTensor('ema_backbone_stem_branch_3x3_conv_weight', [8, 3, 3, 3]);
  t.is(load([...file.tensors.values(), average]).architecture.numClasses, 5);
  t.throws(() => load([...small, average]), {code: 'ERR_CHECKPOINT_EXTRA_TENSOR'});
});

test('blocks are read when they are asked for or one ahead, and others get their turn in between', async t => {
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
  t.true(reads >= 10 && reads <= 20);
  await blocks.next();
  t.true(reads >= 20 && reads <= 30);

  let turns = 0;
  const turn = (): void => {
    turns++;
    waiting = setImmediate(turn);
  };
  let waiting = setImmediate(turn);
  while (!(await blocks.next()).done);
  clearImmediate(waiting);
  t.is(reads, 9 * 10 + 4 * 4);
  t.true(turns >= 6, `${turns}`);
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
