import {copyFile, readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {type Architecture, defineArchitecture} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {officialStateDict} from '../../ts/checkpoint/official_state_dict.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import type {TensorToWrite} from '../../ts/checkpoint/state_dict.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {RepVGG} from '../../ts/model.ts';
import type {BatchNorm, BlockParameters, DeployBlock, TrainBlock} from '../../ts/network.ts';
import {
  collect,
  memoryCheckpoint,
  networkFromCheckpoint,
  type Project,
  randomTensor,
  smallNetwork,
  stateDict,
  tensor,
} from '../checkpoints.ts';
import {checkpoint, expected, photos} from '../fixtures.ts';
import {fuseBlock} from '../fusion/fusion_algebra.ts';
import {repvgg, temporaryFolder} from './run.ts';

const outline = (tensors: Iterable<TensorInfo>): [string, readonly number[], string][] =>
  Array.from(tensors, ({name, shape, dtype}) => [name, shape, dtype]);

const toWrite = (tensors: readonly TensorInfo[]): TensorToWrite[] =>
  tensors.map(({name, shape, read}) => ({
    name,
    shape,
    values: read as () => Promise<Float32Array>,
  }));

for (const [name, project] of [
  ['narrow.official.legacy.pth', 'official'],
  ['narrow.timm.zip.pth', 'official'],
  ['narrow.deploy.legacy.pth', 'official'],
  ['squeeze-excite.zip.pth', 'official'],
  ['plus.zip.pth', 'plus'],
  ['backbone.zip.pth', 'official'],
] as [string, Project][]) {
  test(`${name} becomes the official deploy form: its tensors in its order, and the same logits`, async t => {
    const deploy = join(await temporaryFolder(t), 'deploy.pth');
    const conversion = await convertCheckpoint(checkpoint(name), deploy);
    const {architecture, form} = expected.checkpoints[name]!;
    const wanted = stateDict(defineArchitecture(architecture), project, 'deploy');
    await using file = await openCheckpoint(deploy);
    t.deepEqual(outline(file.tensors.values()), outline(wanted));
    const blocks = 1 + architecture.numBlocks.reduce((a, b) => a + b);
    const sizes = wanted.map(({shape}) => shape.reduce((a, b) => a * b, 1));
    t.like(conversion, {storedForm: form, fusedBlocks: form === 'train' ? blocks : 0});
    t.is(
      conversion.parameters.after,
      sizes.reduce((a, b) => a + b),
    );
    t.is(conversion.bytes, (await readFile(deploy)).length);

    await using before = await RepVGG.load(checkpoint(name), {preprocessing: expected.preprocessing});
    await using after = await RepVGG.load(deploy, {preprocessing: expected.preprocessing});
    t.deepEqual(after.architecture, before.architecture);
    t.deepEqual(await after.embed(photos), await before.embed(photos));
    if (architecture.numClasses !== 0) t.deepEqual(await after.logits(photos), await before.logits(photos));
  });
}

test("timm's deploy form gets the official names, and keeps every value", async t => {
  const folder = await temporaryFolder(t);
  const architecture: Architecture = {
    ...smallNetwork,
    squeezeExcite: {position: 'before-relu', reduction: 4},
  };
  const source = stateDict(architecture, 'timm', 'deploy');
  const [from, to] = [join(folder, 'timm.pth'), join(folder, 'official.pth')];
  await writePyTorch(from, toWrite(source));
  t.like(await convertCheckpoint(from, to), {storedForm: 'deploy', fusedBlocks: 0});
  await using file = await openCheckpoint(to);
  const names = [...file.tensors.keys()];
  t.deepEqual(
    names,
    stateDict(architecture, 'official', 'deploy').map(({name}) => name),
  );
  for (const [i, name] of names.entries())
    t.deepEqual(await file.tensors.get(name)!.read(), await source[i]!.read());
});

test('of a network that is fused in part the rest is fused', async t => {
  const folder = new URL('../fixtures/dialects/', import.meta.url);
  const [partly, train] = ['plain.partly-fused.pth', 'plain.official.pth'].map(name =>
    fileURLToPath(new URL(name, folder)),
  ) as [string, string];
  const to = join(await temporaryFolder(t), 'deploy.pth');
  const {storedForm, fusedBlocks, parameters} = await convertCheckpoint(partly, to);
  t.deepEqual([storedForm, fusedBlocks], ['deploy', 5]);
  const ofAll = await convertCheckpoint(train, to);
  t.is(ofAll.fusedBlocks, 8);
  t.is(parameters.after, ofAll.parameters.after);
  await using file = await openCheckpoint(partly);
  // PyTorch counts no statistics among parameters.
  const stored = [...file.tensors.values()].filter(({name}) => !/running_|num_batches/.test(name));
  t.is(
    parameters.before,
    stored.reduce((sum, {shape}) => sum + shape.reduce((a, b) => a * b, 1), 0),
  );
  await t.throwsAsync(convertCheckpoint(partly, to, {form: 'train'}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /"deploy" \(3 of 8 blocks of .*plain\.partly-fused\.pth are already fused\)/,
  });
});

test('a file can be converted onto itself, and a failure leaves what was there', async t => {
  const folder = await temporaryFolder(t);
  const [file, other] = [join(folder, 'network.pth'), join(folder, 'other.pth')];
  await copyFile(checkpoint('narrow.official.zip.pth'), file);
  await convertCheckpoint(file, other);
  await convertCheckpoint(file, file);
  t.deepEqual(await readFile(file), await readFile(other));

  await writeFile(other, 'keep me');
  await t.throwsAsync(convertCheckpoint(file, other, {architecture: 'RepVGG-A0'}), {
    code: 'ERR_ARCHITECTURE_MISMATCH',
  });
  t.is(await readFile(other, 'utf8'), 'keep me');
  t.deepEqual((await readdir(folder)).sort(), ['network.pth', 'other.pth']);
});

for (const [name, project] of [
  ['narrow.timm.zip.pth', 'official'],
  ['narrow.float64.legacy.pth', 'official'],
  ['squeeze-excite.zip.pth', 'official'],
  ['plus.zip.pth', 'plus'],
  ['backbone.zip.pth', 'official'],
] as [string, Project][]) {
  test(`${name} becomes the official train form: its tensors in its order, and the same network`, async t => {
    const folder = await temporaryFolder(t);
    const {architecture} = expected.checkpoints[name]!;
    const wanted = stateDict(defineArchitecture(architecture), project, 'train').filter(
      ({name: key}) => !/num_batches_tracked$|_aux\./.test(key),
    );
    for (const file of ['train.pth', 'train.safetensors']) {
      const train = join(folder, file);
      const conversion = await convertCheckpoint(checkpoint(name), train, {form: 'train'});
      t.like(conversion, {storedForm: 'train', form: 'train', fusedBlocks: 0});
      t.is(conversion.parameters.before, conversion.parameters.after);
      await using opened = await openCheckpoint(train);
      t.deepEqual(outline(opened.tensors.values()), outline(wanted));
    }
    const deploys = [checkpoint(name), join(folder, 'train.pth'), join(folder, 'train.safetensors')];
    const fused = await Promise.all(
      deploys.map(async (from, i) => {
        const to = join(folder, `${i}.pth`);
        await convertCheckpoint(from, to);
        return readFile(to);
      }),
    );
    t.true(fused[1]!.equals(fused[2]!));
    // What float64 rounds to float32 before fusion is another network in the last bits.
    if (name !== 'narrow.float64.legacy.pth') t.true(fused[1]!.equals(fused[0]!));
  });
}

test('a bias before batch normalisation and another eps are put where the official form has a place for them', async t => {
  const source = stateDict(smallNetwork, 'official', 'train');
  source.push(randomTensor('stage1.0.rbr_dense.conv.bias', [8]));
  const plain = networkFromCheckpoint(memoryCheckpoint(source));
  const withEps = (norm: BatchNorm): BatchNorm => ({...norm, eps: 1e-3});
  async function* blocks(): AsyncGenerator<BlockParameters> {
    for await (const block of plain.blocks('train')) {
      if (block.form !== 'train') throw new Error('a fused block');
      for (const branch of [block.dense, block.pointwise]) branch.batchNorm = withEps(branch.batchNorm);
      yield {...block, identity: block.identity && withEps(block.identity)};
    }
  }
  const odd = {...plain, blocks};
  const written: TensorInfo[] = [];
  for (const {name, shape, values} of await officialStateDict(odd, 'train'))
    written.push(tensor(name, shape, await values()));
  const official = networkFromCheckpoint(memoryCheckpoint(written));
  const fused = await collect(official.blocks('deploy'));
  for await (const block of blocks()) {
    const {weight, bias} = fuseBlock(block as TrainBlock);
    const {weight: w, bias: b} = fused[block.shape.index] as DeployBlock;
    t.true(weight.every((value, i) => Math.abs(value - w[i]!) < 1e-6 * Math.max(1, Math.abs(value))));
    t.true(bias.every((value, i) => Math.abs(value - b[i]!) < 1e-6 * Math.max(1, Math.abs(value))));
  }
});

test('the extension chooses the format', async t => {
  const folder = await temporaryFolder(t);
  const from = checkpoint('narrow.official.zip.pth');
  const formats = new Map<string, string>();
  for (const name of ['a.pth', 'a.pt', 'a.bin', 'a.ckpt', 'a.safetensors', 'a.SafeTensors']) {
    await convertCheckpoint(from, join(folder, name));
    await using file = await openCheckpoint(join(folder, name));
    formats.set(name, file.format);
  }
  t.deepEqual(Object.fromEntries(formats), {
    'a.pth': 'PyTorch zip',
    'a.pt': 'PyTorch zip',
    'a.bin': 'PyTorch zip',
    'a.ckpt': 'PyTorch zip',
    'a.safetensors': 'safetensors',
    'a.SafeTensors': 'safetensors',
  });
  const onnx = join(folder, 'a.onnx');
  for (const path of [
    onnx,
    join(folder, 'b'),
    join(folder, 'b.h5'),
    join(folder, 'b.pth.tar'),
    'b.safetensor',
  ])
    await t.throwsAsync(convertCheckpoint(from, path), {
      code: 'ERR_INVALID_ARGUMENT',
      message: `Expected a file that ends in .pth, .pt, .bin, .ckpt, .safetensors (ONNX is written by "repvgg export" and exportOnnx) for path but received "${path}".`,
    });
  await t.throwsAsync(convertCheckpoint(join(folder, 'a.pth'), join(folder, 'b.pth'), {form: 'train'}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /already fused/,
  });
  // As of an environment variable that is not set.
  await t.throwsAsync(convertCheckpoint(undefined as unknown as string, join(folder, 'b.pth')), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'Expected a path, "owner/name" of the hub or "digits" for checkpoint but received undefined.',
  });
  await t.throwsAsync(convertCheckpoint(from, onnx, {form: 'half' as 'train'}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'Expected "deploy" or "train" for form but received "half".',
  });
  t.false((await readdir(folder)).some(name => name.startsWith('.') || name.startsWith('b')));
});

test('the command says what it did, and what it wrote classifies like what it read', async t => {
  const cwd = await temporaryFolder(t);
  const train = checkpoint('narrow.official.zip.pth');
  t.deepEqual(await repvgg(['convert', train, 'deploy.pth'], {cwd}), {
    code: 0,
    stdout:
      'custom RepVGG: fused 10 blocks, 15,428 parameters became 13,445\n' +
      `wrote deploy.pth (${(await readFile(join(cwd, 'deploy.pth'))).length.toLocaleString('en-US')} bytes)\n`,
    stderr: '',
  });
  const [before, after] = await Promise.all(
    [train, 'deploy.pth'].map(file => repvgg(['classify', '--json', '-c', file, ...photos], {cwd})),
  );
  t.is(before!.code, 0);
  t.deepEqual(after, before);
});
