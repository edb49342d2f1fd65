import {copyFile, truncate} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {exportOnnx} from '../../ts/export.ts';
import {RepVGG} from '../../ts/model.ts';
import type {DeployBlock} from '../../ts/network.ts';
import {preprocessingOf} from '../../ts/preprocessing.ts';
import {collect, networkFromCheckpoint} from '../checkpoints.ts';
import {temporaryFolder} from '../cli/run.ts';
import {expected, checkpoint as fixture, photos} from '../fixtures.ts';
import {concat, Folder, field, floats, onnx, onnxNode, onnxTensor} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

/** Relative L2 distance of rows from what PyTorch computes in float64. */
function distance(actual: readonly Float32Array[], wanted: readonly number[][]): number {
  const flat = wanted.flat();
  const values = actual.flatMap(row => [...row]);
  return Math.hypot(...flat.map((value, i) => value - values[i]!)) / Math.hypot(...flat);
}

for (const [name, source, form] of [
  ['narrow.deploy', 'narrow.official.zip.pth', 'deploy'],
  ['narrow.folded', 'narrow.official.zip.pth', 'train'],
  ['narrow.branches', 'narrow.official.zip.pth', 'train'],
  ['narrow.dynamo', 'narrow.official.zip.pth', 'train'],
  ['squeeze-excite.folded', 'squeeze-excite.zip.pth', 'train'],
  ['plus.folded', 'plus.zip.pth', 'train'],
  ['backbone.folded', 'backbone.zip.pth', 'train'],
] as const) {
  test(`what torch.onnx exports is the network it exports: ${name}`, async t => {
    const {logits, embeddings} = expected.checkpoints[source]!;
    const path = fixture(`${name}.onnx`);
    await using file = await openCheckpoint(path);
    t.is(file.format, 'ONNX');
    t.is(networkFromCheckpoint(file).storedForm, form);
    for (const run of form === 'train' ? (['deploy', 'train'] as const) : (['deploy'] as const)) {
      await using model = await RepVGG.load(path, {preprocessing: expected.preprocessing, form: run});
      await using same = await RepVGG.load(fixture(source), {preprocessing: expected.preprocessing});
      t.deepEqual(model.architecture, same.architecture);
      t.true(distance(await model.embed(photos), embeddings) < 2e-6);
      if (logits) t.true(distance(await model.logits(photos), logits) < 2e-6);
    }
  });
}

const down = {strides: [2, 2], pads: [1, 1, 1, 1], kernel_shape: [3, 3]};
const kernel = (out: number, channels: number, seed: number): number[] =>
  Array.from({length: out * channels * 9}, (_, i) => Math.sin(seed + i));

/** A chain of five fused blocks of stride 2 and width 2, with changes. */
function chain({
  first = (input: string): Buffer[] => [onnxNode('Conv', [input, 'w0', 'b0'], 'c0', down)],
  end = [
    onnxNode('GlobalAveragePool', ['r4'], 'p'),
    onnxNode('Flatten', ['p'], 'f'),
    onnxNode('Gemm', ['f', 'lw', 'lb'], 'y', {transB: 1}),
  ],
  tensors = [] as Buffer[],
  w0 = onnxTensor('w0', [2, 3, 3, 3], kernel(2, 3, 0)),
  lw = onnxTensor('lw', [3, 2], [1, 2, 3, 4, 5, 6]),
  input = field(1, 'x'),
  /** Makes `g0` of `c0`, and so on. */
  gate = undefined as ((input: string, output: string) => Buffer[]) | undefined,
} = {}): Buffer {
  const activation = (i: number): Buffer[] =>
    gate
      ? [...gate(`c${i}`, `g${i}`), onnxNode('Relu', [`g${i}`], `r${i}`)]
      : [onnxNode('Relu', [`c${i}`], `r${i}`)];
  const nodes = [...first('x'), ...activation(0)];
  const weights = [w0, onnxTensor('b0', [2], [0.5, -0.5]), lw, onnxTensor('lb', [3], [7, 8, 9]), ...tensors];
  for (let i = 1; i < 5; i++) {
    nodes.push(onnxNode('Conv', [`r${i - 1}`, `w${i}`], `c${i}`, down), ...activation(i));
    weights.push(onnxTensor(`w${i}`, [2, 2, 3, 3], kernel(2, 2, i)));
  }
  return onnx([...nodes, ...end], weights, input);
}

async function read(bytes: Buffer): Promise<Record<string, number[]>> {
  await using file = await openCheckpoint(await folder.write(bytes));
  networkFromCheckpoint(file);
  const all: Record<string, number[]> = {};
  for (const {name, read} of file.tensors.values()) all[name] = Array.from(await read());
  return all;
}

const bare = read(chain());

test('a chain of convolutions, with or without biases', async t => {
  const network = await bare;
  t.deepEqual(Object.keys(network).slice(0, 4), [
    'stage0.rbr_reparam.weight',
    'stage0.rbr_reparam.bias',
    'stage1.0.rbr_reparam.weight',
    'stage1.0.rbr_reparam.bias',
  ]);
  t.deepEqual(network['stage0.rbr_reparam.weight'], [...Float32Array.from(kernel(2, 3, 0))]);
  t.deepEqual(network['stage0.rbr_reparam.bias'], [0.5, -0.5]);
  t.deepEqual(network['stage1.0.rbr_reparam.bias'], [0, 0]);
  t.deepEqual(network['linear.weight'], [1, 2, 3, 4, 5, 6]);
});

test('the classifier in its other forms, and without', async t => {
  const ends: Buffer[][] = [
    [
      onnxNode('ReduceMean', ['r4'], 'p', {axes: [2, 3], keepdims: 0}),
      onnxNode('Gemm', ['p', 'lt', 'lb'], 'y'),
    ],
    [
      onnxNode('AveragePool', ['r4'], 'p', {kernel_shape: [7, 7]}),
      onnxNode('Reshape', ['p', 'shape'], 'f'),
      onnxNode('Dropout', ['f'], 'd'),
      onnxNode('MatMul', ['d', 'lt'], 'm'),
      onnxNode('Add', ['lb', 'm'], 'a'),
      onnxNode('Softmax', ['a'], 's'),
      onnxNode('Reshape', ['s', 'shape'], 'y'),
    ],
    // x.view(x.size(0), -1) of the official code for batches of any size.
    [
      onnxNode('GlobalAveragePool', ['r4'], 'p'),
      onnxNode('Shape', ['p'], 'size'),
      onnxNode('Gather', ['size', 'zero'], 'n', {axis: 0}),
      onnxNode('Unsqueeze', ['n', 'zero'], 'n1'),
      onnxNode('Concat', ['n1', 'rest'], 'shape2', {axis: 0}),
      onnxNode('Reshape', ['p', 'shape2'], 'f'),
      onnxNode('Gemm', ['f', 'lw', 'lb'], 'y', {transB: 1}),
    ],
  ];
  const tensors = [
    onnxTensor('lt', [2, 3], [1, 3, 5, 2, 4, 6]),
    // As the ONNX library's make_tensor writes it: not raw.
    onnxTensor('shape', [2], {fields: [field(7, Buffer.of(1, 2))]}, 7),
    onnxTensor('zero', [1], {fields: [field(7, Buffer.of(0))]}, 7),
    onnxTensor(
      'rest',
      [1],
      {fields: [field(7, Buffer.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 1))]},
      7,
    ),
  ];
  for (const end of ends) t.deepEqual(await read(chain({end, tensors})), await bare);
  const {'linear.weight': _, 'linear.bias': __, ...backbone} = await bare;
  t.deepEqual(await read(chain({end: [onnxNode('GlobalAveragePool', ['r4'], 'y')]})), backbone);
  t.deepEqual(await read(chain({end: []})), backbone);
});

test('squeeze-and-excite, also where the official code reshapes the gates', async t => {
  const tensors = [
    onnxTensor('down', [1, 2, 1, 1], [1, 2]),
    onnxTensor('up', [2, 1, 1, 1], [3, 4]),
    onnxTensor('shape', [4], {fields: [field(7, Buffer.of(1, 2, 1, 1))]}, 7),
  ];
  const gate =
    (reshapes: boolean) =>
    (input: string, output: string): Buffer[] => [
      onnxNode('AveragePool', [input], `${input}.p`, {kernel_shape: [7, 7]}),
      onnxNode('Conv', [`${input}.p`, 'down'], `${input}.d`),
      onnxNode('Relu', [`${input}.d`], `${input}.r`),
      onnxNode('Conv', [`${input}.r`, 'up'], `${input}.u`),
      onnxNode('Sigmoid', [`${input}.u`], `${input}.s`),
      ...(reshapes ? [onnxNode('Reshape', [`${input}.s`, 'shape'], `${input}.v`)] : []),
      onnxNode('Mul', [input, `${input}.${reshapes ? 'v' : 's'}`], output),
    ];
  const plain = await read(chain({tensors, gate: gate(false)}));
  t.deepEqual(plain['stage4.0.se.up.weight'], [3, 4]);
  t.deepEqual(await read(chain({tensors, gate: gate(true)})), plain);
});

test('a classifier of two layers, or with anything behind it that changes the logits, is none', async t => {
  const head = (...layers: Buffer[]): Buffer[] => [
    onnxNode('GlobalAveragePool', ['r4'], 'p'),
    onnxNode('Flatten', ['p'], 'f'),
    ...layers,
  ];
  const gemm = onnxNode('Gemm', ['f', 'lw', 'lb'], 'g', {transB: 1});
  const product = [onnxNode('MatMul', ['f', 'lt'], 'm'), onnxNode('Add', ['m', 'lb'], 'a')];
  const tensors = [onnxTensor('lt', [2, 3], [1, 3, 5, 2, 4, 6])];
  for (const [end, problem] of [
    [head(gemm, onnxNode('Relu', ['g'], 'y')), /the end behind its classifier: g goes into Relu/],
    [head(gemm, onnxNode('Reshape', ['g'], 'h'), onnxNode('Gemm', ['h', 'lw'], 'y')), /h goes into Gemm/],
    [head(...product, onnxNode('Div', ['a', 'lb'], 'y')), /a goes into Div/],
    [head(product[0]!, onnxNode('Tanh', ['m'], 'y')), /m goes into Tanh/],
  ] as const) {
    await t.throwsAsync(read(chain({end: [...end], tensors})), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: problem,
    });
  }
});

test('weights as packed floats, as constants, as copies, and in half precision', async t => {
  const packed = onnxTensor('w0', [2, 3, 3, 3], {fields: [field(4, floats(...kernel(2, 3, 0)))]});
  t.deepEqual(await read(chain({w0: packed})), await bare);
  const constant = (input: string): Buffer[] => [
    onnxNode('Constant', [], 'k', {value: onnxTensor('', [2, 3, 3, 3], kernel(2, 3, 0))}),
    onnxNode('Identity', ['k'], 'k1'),
    onnxNode('Cast', ['k1'], 'k2', {to: 1}),
    onnxNode('Cast', [input], 'x1', {to: 1}),
    onnxNode('Conv', ['x1', 'k2', 'b0'], 'c0', down),
  ];
  t.deepEqual(await read(chain({first: constant})), await bare);
  const half = onnxTensor('lw', [3, 2], {fields: [field(9, Buffer.alloc(12, '\0\x3c', 'latin1'))]}, 10);
  t.deepEqual((await read(chain({lw: half})))['linear.weight'], [1, 1, 1, 1, 1, 1]);
});

test("dimensions in a packed list, and attributes that PyTorch's exporters leave at their defaults", async t => {
  const packed = concat(field(1, Buffer.of(2, 3, 3, 3)), onnxTensor('w0', [], kernel(2, 3, 0)));
  const first = (input: string): Buffer[] => [
    onnxNode('Conv', [input, 'w0', 'b0'], 'c0', {...down, group: 1, dilations: [1, 1]}),
  ];
  t.deepEqual(await read(chain({w0: packed, first})), await bare);
});

test('batch normalisation with its own epsilon, behind a fused convolution and in branches', async t => {
  const norm = [
    onnxTensor('g', [2], [2, 3]),
    onnxTensor('b', [2], [4, 5]),
    onnxTensor('m', [2], [6, 7]),
    onnxTensor('v', [2], [0.5, 1]),
    onnxTensor('p0', [2, 3, 1, 1], [1, 2, 3, 4, 5, 6]),
  ];
  const batchNorm = (input: string, output: string, epsilon: number): Buffer =>
    onnxNode('BatchNormalization', [input, 'g', 'b', 'm', 'v'], output, {epsilon: {float: epsilon}});
  const single = (input: string): Buffer[] => [
    onnxNode('Conv', [input, 'w0', 'b0'], 'k', down),
    batchNorm('k', 'c0', 0.5),
  ];
  const eps = Math.fround(0.5);
  const scale = [2 / Math.sqrt(0.5 + eps), 3 / Math.sqrt(1 + eps)];
  const fused = await read(chain({first: single, tensors: norm}));
  const wanted = (await bare)['stage0.rbr_reparam.weight']!.map((value, i) =>
    Math.fround(value * scale[Math.trunc(i / 27)]!),
  );
  t.deepEqual(fused['stage0.rbr_reparam.weight'], wanted);
  t.deepEqual(fused['stage0.rbr_reparam.bias'], [4 + (0.5 - 6) * scale[0]!, 5 + (-0.5 - 7) * scale[1]!]);

  const branches = (input: string): Buffer[] => [
    onnxNode('Conv', [input, 'w0', 'b0'], 'k', down),
    batchNorm('k', 'kn', 0.5),
    onnxNode('Conv', [input, 'p0'], 'q', {strides: [2, 2]}),
    batchNorm('q', 'qn', 1e-5),
    onnxNode('Sum', ['qn', 'kn'], 'c0'),
  ];
  await using file = await openCheckpoint(await folder.write(chain({first: branches, tensors: norm})));
  const values = async (name: string): Promise<number[]> =>
    Array.from(await file.tensors.get(`stage0.${name}`)!.read());
  t.deepEqual(await values('rbr_dense.conv.bias'), [0.5, -0.5]);
  t.deepEqual(await values('rbr_dense.bn.running_var'), [0.5 + (eps - 1e-5), 1 + (eps - 1e-5)]);
  t.deepEqual(await values('rbr_1x1.bn.running_var'), [0.5, 1]);
  t.deepEqual(await values('rbr_1x1.bn.running_mean'), [6, 7]);
});

test('an epsilon below the usual one, and a variance of 0', async t => {
  const eps = Math.fround(1e-7);
  const names = ['g', 'be', 'm', 'v'];
  const norm = (name: string): Buffer[] => [
    onnxTensor(`g${name}`, [2], [1, 1]),
    onnxTensor(`be${name}`, [2], [0, 0]),
    onnxTensor(`m${name}`, [2], [0, 0]),
    onnxTensor(`v${name}`, [2], [0, 1]),
  ];
  const first = (input: string): Buffer[] => [
    onnxNode('Conv', [input, 'w0'], 'k', down),
    onnxNode('BatchNormalization', ['k', ...names.map(x => `${x}0`)], 'kn', {epsilon: {float: 1e-7}}),
    onnxNode('Conv', [input, 'p0'], 'q', {strides: [2, 2]}),
    onnxNode('BatchNormalization', ['q', ...names.map(x => `${x}1`)], 'qn', {epsilon: {float: 1e-5}}),
    onnxNode('Sum', ['qn', 'kn'], 'c0'),
  ];
  const tensors = [...norm('0'), ...norm('1'), onnxTensor('p0', [2, 3, 1, 1], [0, 0, 0, 0, 0, 0])];
  await using file = await openCheckpoint(await folder.write(chain({first, tensors})));
  t.is(file.eps, eps);
  const [block] = (await collect(networkFromCheckpoint(file).blocks('deploy'))) as DeployBlock[];
  const scales = [1 / Math.sqrt(eps), 1 / Math.sqrt(1 + eps)];
  t.deepEqual(
    block!.weight,
    Float32Array.from(kernel(2, 3, 0), (value, i) => Math.fround(value) * scales[Math.trunc(i / 27)]!),
  );
});

test('an input of one size is that of the images', async t => {
  const input = (...dims: (number | string)[]): Buffer => {
    const dim = (size: number | string): Buffer =>
      field(1, typeof size === 'number' ? field(1, size) : field(2, size));
    return concat(field(1, 'x'), field(2, field(1, concat(field(1, 1), field(2, concat(...dims.map(dim)))))));
  };
  for (const [dims, preprocessing] of [
    [['N', 3, 64, 64], {crop: 64}],
    [[1, 3, 320, 320], {crop: 320}],
    [['N', 3, 'H', 'W'], undefined],
    [['N', 3, 64, 96], undefined],
    [['N', 64, 64, 3], undefined],
    [[1, 3, 8192, 8192], undefined],
    [[], undefined],
  ] as const) {
    await using file = await openCheckpoint(await folder.write(chain({input: input(...dims)})));
    t.deepEqual(file.preprocessing, preprocessing);
    const {architecture} = networkFromCheckpoint(file);
    const {crop, resize} = preprocessingOf(file, architecture);
    // In the proportion of 224 of 256 pixels.
    t.is(crop, preprocessing?.crop ?? 224);
    t.is(
      resize,
      new Map([
        [64, 73],
        [224, 256],
        [320, 366],
      ]).get(crop)!,
    );
  }
  await using file = await openCheckpoint(fixture('narrow.deploy.onnx'));
  t.deepEqual(file.preprocessing, {crop: 56});
});

test('folded branches have batch normalisation that changes nothing, to the last bit', async t => {
  await using file = await openCheckpoint(fixture('narrow.folded.onnx'));
  const network = networkFromCheckpoint(file);
  const [fused] = (await collect(network.blocks('deploy'))) as DeployBlock[];
  const tensor = (name: string) => file.tensors.get(`stage0.${name}`)!.read();
  const [dense, point] = [await tensor('rbr_dense.conv.weight'), await tensor('rbr_1x1.conv.weight')];
  const sum = dense.map((value, i) => (i % 9 === 4 ? value + point[Math.trunc(i / 9)]! : value));
  t.deepEqual(fused!.weight, Float32Array.from(sum));
});

test('an epsilon cannot be given to a file that has its own', async t => {
  await using file = await openCheckpoint(fixture('narrow.branches.onnx'));
  t.throws(() => networkFromCheckpoint(file, {eps: 1e-3}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /^Expected 0\.00001 \(as .*narrow\.branches\.onnx itself says\) for eps/,
  });
});

test('external data that are cut or missing', async t => {
  const [model, data] = [await folder.path('cut.onnx'), await folder.path('narrow.dynamo.onnx.data')];
  await copyFile(fixture('narrow.dynamo.onnx'), model);
  await t.throwsAsync(openCheckpoint(model), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /narrow\.dynamo\.onnx\.data/,
  });
  await copyFile(fixture('narrow.dynamo.onnx.data'), data);
  await truncate(data, 50_000);
  await t.throwsAsync(openCheckpoint(model), {
    code: 'ERR_CHECKPOINT_TRUNCATED',
    message: /the file ends at byte 50000, before the end of tensor .* of .*cut\.onnx at \d+/,
  });
});

test('what exportOnnx writes is read back: bit for bit in fp32, rounded once in fp16', async t => {
  const folder = await temporaryFolder(t);
  for (const name of [
    'narrow.official.zip.pth',
    'squeeze-excite.zip.pth',
    'plus.zip.pth',
    'backbone.zip.pth',
  ]) {
    const [deploy, onnx, half] = ['deploy.pth', 'full.onnx', 'half.onnx'].map(file => join(folder, file));
    await convertCheckpoint(fixture(name), deploy!);
    await exportOnnx(fixture(name), onnx!);
    await exportOnnx(fixture(name), half!, {precision: 'fp16'});
    await using wanted = await openCheckpoint(deploy!);
    await using exact = await openCheckpoint(onnx!);
    await using rounded = await openCheckpoint(half!);
    t.is(wanted.tensors.size, exact.tensors.size);
    for (const {name, read, shape} of exact.tensors.values()) {
      const same = [...wanted.tensors.values()].find(tensor => plain(tensor.name) === plain(name))!;
      t.deepEqual(shape, same.shape);
      const values = await read();
      t.deepEqual(values, await same.read());
      const halves = await rounded.tensors.get(name)!.read();
      t.true(
        halves.every((value, i) => Math.abs(value - values[i]!) <= 2 ** -11 * Math.abs(value) + 2 ** -24),
      );
    }
  }
});

/** RepVGGplus' stage 3 is read as one part, since where it was split does not show. */
const plain = (name: string): string =>
  name.replace(
    /stage3_(first|second)\.blocks\.(\d+)/,
    (_, half, n) => `3.${half === 'first' ? n : Number(n) + 1}`,
  );
