import {copyFile, readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {type Architecture, defineArchitecture} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {RepVGG} from '../../ts/model.ts';
import {type Project, smallNetwork, stateDict} from '../checkpoints.ts';
import {checkpoint, expected, photos} from '../fixtures.ts';
import {repvgg, temporaryFolder} from './run.ts';

const outline = (tensors: Iterable<TensorInfo>): [string, readonly number[], string][] =>
  Array.from(tensors, ({name, shape, dtype}) => [name, shape, dtype]);

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
  const values = (tensor: TensorInfo): Promise<Float32Array> => tensor.read() as Promise<Float32Array>;
  const [from, to] = [join(folder, 'timm.pth'), join(folder, 'official.pth')];
  await writePyTorch(
    from,
    source.map(tensor => ({...tensor, dtype: 'f32', values: () => values(tensor)})),
  );
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
