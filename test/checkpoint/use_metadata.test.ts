import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {CheckpointFile} from '../../ts/checkpoint/file.ts';
import {readOnnxMetadata} from '../../ts/checkpoint/onnx/metadata.ts';
import {mostMetadataBytes, parseNames, useMetadata} from '../../ts/checkpoint/use_metadata.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {digits} from '../../ts/digits.ts';
import {exportOnnx} from '../../ts/export.ts';
import {imageNetLabels, resolveLabels} from '../../ts/labels.ts';
import type {LoadOptions} from '../../ts/loading/load_network.ts';
import {RepVGG} from '../../ts/model.ts';
import {repvgg, temporaryFolder} from '../cli/run.ts';
import {checkpoint} from '../fixtures.ts';

const names = ['cat', "dog's", 'a "b"', `'both' "quotes"`, '\\n', 'line\nbreak', 'naïve 猫 😀', '\ud800', ''];
const labels = [...names, 'last'];

async function useOf(path: string, options: LoadOptions = {}) {
  await using model = await RepVGG.load(path, {threads: 1, ...options});
  return {labels: model.labels, preprocessing: model.preprocessing};
}

/** The names as they are in a file. */
async function namesIn(path: string): Promise<string | undefined> {
  const file = await CheckpointFile.open(path);
  try {
    return (await readOnnxMetadata(file)).get('names');
  } finally {
    await file.close();
  }
}

test('an ONNX file keeps labels and preprocessing, and a safetensors file made of it does too', async t => {
  const folder = await temporaryFolder(t);
  const [onnx, tensors, again, pth] = ['a.onnx', 'b.safetensors', 'c.onnx', 'd.pth'].map(name =>
    join(folder, name),
  ) as [string, string, string, string];
  const given = {
    resize: 40,
    crop: 36,
    interpolation: 'bicubic',
    squash: true,
    mean: [0.1, 0.2, 0.3],
    std: [0.4, 0.5, 0.6],
  } as const;
  const exported = await exportOnnx('digits', onnx, {labels, preprocessing: given});
  const expected = {labels: labels.map(label => ({label})), preprocessing: {...given, autoOrient: false}};
  t.like(exported, expected);
  t.deepEqual(await useOf(onnx), expected);
  await convertCheckpoint(onnx, tensors);
  t.deepEqual(await useOf(tensors), expected);
  await exportOnnx(tensors, again);
  t.deepEqual(await useOf(again), expected);
  // Options come first.
  const other = await useOf(tensors, {labels: [...'0123456789'], preprocessing: {crop: 32}});
  t.deepEqual(other.labels[0], {label: '0'});
  t.like(other.preprocessing, {crop: 32, resize: 32, squash: true});
  // A state dict has no place for them.
  await convertCheckpoint(tensors, pth);
  t.deepEqual((await useOf(pth)).labels[0], {label: '0'});
});

test('a safetensors file is given labels and preprocessing; a state dict, which would lose them, is not', async t => {
  const folder = await temporaryFolder(t);
  const given = {resize: 40, crop: 36, mean: [0.1, 0.2, 0.3]} as const;
  const path = join(folder, 'a.safetensors');
  await convertCheckpoint('digits', path, {labels, preprocessing: given});
  const {labels: read, preprocessing} = await useOf(path);
  t.deepEqual(
    read.map(({label}) => label),
    labels,
  );
  t.like(preprocessing, given);
  for (const [name, value, shown] of [
    ['labels', labels, 'an array of 10'],
    ['preprocessing', {crop: 36}, 'an object of type Object'],
  ] as const)
    await t.throwsAsync(convertCheckpoint('digits', join(folder, 'a.pth'), {[name]: value}), {
      code: 'ERR_INVALID_ARGUMENT',
      message: `Expected none, which only .safetensors files keep, for ${name} but received ${shown}.`,
    });
  await t.throwsAsync(convertCheckpoint('digits', path, {labels: ['one']}), {code: 'ERR_LABELS'});
  await t.throwsAsync(convertCheckpoint('digits', path, {preprocessing: {crop: 0}}), {
    code: 'ERR_INVALID_ARGUMENT',
  });
  await t.throwsAsync(exportOnnx('digits', join(folder, 'b.safetensors'), {labels}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /^Expected a file that ends in \.onnx for path but received ".*b\.safetensors"\.$/,
  });
  t.deepEqual(await readdir(folder), ['a.safetensors']);
});

test('names are what Python shows of a dict, as Ultralytics writes them', async t => {
  const folder = await temporaryFolder(t);
  const onnx = join(folder, 'a.onnx');
  await exportOnnx('digits', onnx, {labels});
  const written = String.raw`{0: 'cat', 1: "dog's", 2: 'a "b"', 3: '\'both\' "quotes"', 4: '\\n', 5: 'line\u000abreak', 6: 'naïve 猫 😀', 7: '\ud800', 8: '', 9: 'last'}`;
  t.is(await namesIn(onnx), written);
  // Numbers are what a network without labels has.
  const numbers = join(folder, 'b.onnx');
  t.is((await exportOnnx('digits', numbers)).labels.length, 10);
  t.is(await namesIn(numbers), undefined);
  const backbone = join(folder, 'c.onnx');
  t.deepEqual((await exportOnnx(checkpoint('backbone.zip.pth'), backbone)).labels, []);
  t.deepEqual((await useOf(backbone)).labels, []);
});

test("ImageNet's names come back with their synsets", async t => {
  const published = await imageNetLabels();
  const metadata = useMetadata(digits.preprocessing, published);
  const read = parseNames(metadata.names!)!;
  t.is(read.length, 1000);
  t.is(await resolveLabels(undefined, 1000, {labels: read, labelsFile: 'a.onnx'}), published);
  const changed = read.with(7, 'rooster');
  t.deepEqual((await resolveLabels(undefined, 1000, {labels: changed}))[7], {label: 'rooster'});
});

for (const [text, expected] of [
  [`{0: 'a', 1: 'b'}`, ['a', 'b']],
  [`['a', "b"]`, ['a', 'b']],
  ['["a","b\\u00e9\\/\\n"]', ['a', 'bé/\n']],
  ['{"0": "a", "1": "b"}', ['a', 'b']],
  [` { 0 : 'a' , 1:'\\x41\\U0001f600\\t' } `, ['a', 'A😀\t']],
  [`{1: 'a', 0: 'b'}`, undefined],
  [`{'a', 'b'}`, undefined],
  [`[0: 'a']`, undefined],
  [`{0: 'a', 1: 'b'`, undefined],
  [`{0: 'a', 1: 'b'] `, undefined],
  [`{0: 'a'} b`, undefined],
  [`{0: 'a', 1: b}`, undefined],
  [`{0: 'a', 1: 'b`, undefined],
  ['{}', undefined],
  ['resnet', undefined],
  ['', undefined],
] as const)
  test(`names: ${text}`, t => t.deepEqual(parseNames(text), expected as string[] | undefined));

test('a name that never ends is given up in one pass', t => {
  const start = performance.now();
  for (const part of ['\\a', 'a', "',"]) t.is(parseNames(`{0: '${part.repeat(2 ** 19)}`), undefined);
  t.true(performance.now() - start < 5000);
});

test('names that do not fit are an error of the labels; texts that are no names are ignored', async t => {
  const folder = await temporaryFolder(t);
  const onnx = join(folder, 'a.onnx');
  await exportOnnx('digits', onnx, {labels});
  const bytes = await readFile(onnx);
  const replaced = (from: string, to: string): Buffer =>
    Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1');
  await writeFile(onnx, replaced("9: 'last'}", '9:  last }'));
  t.deepEqual((await useOf(onnx)).labels[9], {label: '9'});
  await writeFile(onnx, replaced(", 9: 'last'}", '}'.padEnd(", 9: 'last'}".length)));
  await t.throwsAsync(useOf(onnx), {
    code: 'ERR_LABELS',
    message: `Expected 10 labels in ${onnx}, one for each class, but received 9.`,
  });
  t.is((await useOf(onnx, {labels})).labels.length, 10);
  const long = ['x'.repeat(mostMetadataBytes), 'b'].map(label => ({label}));
  t.throws(() => useMetadata(digits.preprocessing, long), {code: 'ERR_LABELS'});
});

test('a damaged preprocessing in safetensors is an error', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.safetensors');
  await convertCheckpoint('digits', path);
  const text = (await readFile(path)).toString('latin1');
  // An object that has no text is one of them.
  const nameless = String.raw`{\"crop\":{\"constructor\":{\"name\":{\"toString\":1}}}}`;
  for (const damaged of [
    text.replace('bilinear', 'lanczos3'),
    text.replace(/\{\\"resize[^}]*\}/, own => nameless.padEnd(own.length)),
  ]) {
    await writeFile(path, Buffer.from(damaged, 'latin1'));
    await t.throwsAsync(useOf(path), {
      code: 'ERR_CHECKPOINT_CORRUPT',
      message: /metadata repvgg\.preprocessing/,
    });
  }
});

test('the command line takes a file of labels', async t => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'labels.txt'), [...'abcdefghij'].join('\n'));
  const args = ['export', 'digits', 'a.onnx', '--labels', 'labels.txt', '--json'];
  const {code, stdout, stderr} = await repvgg(args, {cwd: folder});
  t.is(code, 0, stderr);
  t.deepEqual(JSON.parse(stdout).labels[9], {label: 'j'});
  t.deepEqual((await useOf(join(folder, 'a.onnx'))).labels[9], {label: 'j'});
  const few = await repvgg(['export', 'digits', 'b.onnx', '--labels', 'a.onnx'], {cwd: folder});
  t.is(few.code, 3);
  t.regex(few.stderr, /\(ERR_LABELS\)/);
  const use = ['--labels', 'labels.txt', '--crop', '36', '--std', '0.4,0.5,0.6'];
  for (const command of ['convert', 'export']) {
    const written = await repvgg([command, 'digits', `${command}.safetensors`, ...use], {cwd: folder});
    t.is(written.code, 0, written.stderr);
    const read = await useOf(join(folder, `${command}.safetensors`));
    t.deepEqual(read.labels[9], {label: 'j'});
    t.like(read.preprocessing, {crop: 36, resize: 36, std: [0.4, 0.5, 0.6]});
    for (const option of [use.slice(0, 2), use.slice(2, 4)]) {
      const refused = await repvgg([command, 'digits', 'x.pth', ...option], {cwd: folder});
      t.is(refused.code, 2);
      t.regex(
        refused.stderr,
        /^repvgg: Option '.*' applies only to \.onnx and \.safetensors files, not to 'x\.pth'/,
      );
    }
  }
  t.false((await readdir(folder)).includes('x.pth'));
});
