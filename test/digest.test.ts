/** What identifies the parameters of a loaded network: equal for equal ones in whatever file, and for no others. */
import {copyFile, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {openCheckpoint} from '../ts/checkpoint/open.ts';
import {ParameterDigest} from '../ts/checkpoint/parameter_digest.ts';
import {type LoadOptions, RepVGG} from '../ts/index.ts';
import {temporaryFolder} from './folder.ts';

const fixture = (name: string): string =>
  fileURLToPath(new URL(`fixtures/checkpoints/${name}`, import.meta.url));

async function digest(checkpoint: string, options: LoadOptions = {}): Promise<string> {
  await using model = await RepVGG.load(checkpoint, {device: 'cpu', ...options});
  return model.digest;
}

test('one network has one digest, in whatever file and however it is read', async t => {
  const expected = await digest(fixture('narrow.official.zip.pth'));
  t.regex(expected, /^[0-9a-f]{16}$/);
  for (const name of [
    'narrow.official.legacy.pth',
    'narrow.official.safetensors',
    'narrow.channels-last.zip.pth',
  ]) {
    t.is(await digest(fixture(name)), expected, name);
  }
  const zip = fixture('narrow.official.zip.pth');
  t.is(await digest(zip, {form: 'train'}), expected, 'kernels are read in JavaScript, not in the addon');
  t.is(await digest(zip, {eps: 1e-5}), expected, 'the default');
  t.is(await digest(zip, {preprocessing: {crop: 64}, winograd: 'off'}), expected, 'how it is used');
});

test('other parameters have another digest', async t => {
  const names = ['official.zip.pth', 'half.zip.pth', 'bfloat16.zip.pth', 'deploy.zip.pth', 'timm.zip.pth'];
  const digests = await Promise.all(names.map(name => digest(fixture(`narrow.${name}`))));
  digests.push(await digest(fixture('narrow.official.zip.pth'), {eps: 1e-4}));
  t.is(new Set(digests).size, digests.length, digests.join(' '));
});

test('every file of a checkpoint counts', async t => {
  const folder = await temporaryFolder(t);
  const parts = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  for (const [index, ...files] of [
    ['model.safetensors.index.json', ...parts],
    ['narrow.dynamo.onnx', 'narrow.dynamo.onnx.data'],
  ] as const) {
    for (const name of [index, ...files]) {
      await copyFile(fixture(name.startsWith('model') ? `sharded/${name}` : name), join(folder, name));
    }
    const before = await digest(join(folder, index));
    for (const name of files) {
      const bytes = await readFile(join(folder, name));
      bytes[bytes.length - 30]! ^= 1; // The lowest byte of a value.
      await writeFile(join(folder, name), bytes);
      const after = await digest(join(folder, index));
      t.not(after, before, name);
      bytes[bytes.length - 30]! ^= 1;
      await writeFile(join(folder, name), bytes);
      t.is(await digest(join(folder, index)), before);
    }
  }
});

test('values that are read elsewhere cannot be forgotten', async t => {
  await using file = await openCheckpoint(fixture('narrow.official.safetensors'));
  const digest = new ParameterDigest();
  const tensor = digest.watch(file.tensors).get('stage0.rbr_dense.conv.weight')!;
  const {verify} = await tensor.locate!();
  t.throws(() => digest.value(null), {message: /without a checksum/});
  verify!(1);
  t.notThrows(() => digest.value(null));
});

test('for fp8 its calibration counts', async t => {
  const image = (value: number) => ({
    data: new Uint8Array(32 * 32 * 3).fill(value),
    width: 32,
    height: 32,
    channels: 3 as const,
  });
  const options = {precision: 'fp8-simulated', form: 'deploy'} as const;
  const dark = await digest('digits', {...options, calibration: [image(20)]});
  t.is(await digest('digits', {...options, calibration: [image(20)]}), dark);
  t.not(await digest('digits', {...options, calibration: [image(200)]}), dark);
  t.not(await digest('digits'), dark);
});
