import {cp, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {build} from 'esbuild';
import {imageNetLabels, resolveLabels} from '../ts/labels.ts';
import {temporaryFolder} from './cli/run.ts';

test('the labels of ImageNet are in the order of their synsets', async t => {
  const labels = await imageNetLabels();
  t.is(labels.length, 1000);
  const synsets = labels.map(({synset}) => synset!);
  t.true(synsets.every(synset => /^n\d{8}$/.test(synset)));
  t.deepEqual(synsets, [...new Set(synsets)].sort());
  for (const [index, synset, label] of [
    [0, 'n01440764', 'tench, Tinca tinca'],
    [1, 'n01443537', 'goldfish, Carassius auratus'],
    [207, 'n02099601', 'golden retriever'],
    [281, 'n02123045', 'tabby, tabby cat'],
    [812, 'n04266014', 'space shuttle'],
    [967, 'n07920052', 'espresso'],
    [999, 'n15075141', 'toilet tissue, toilet paper, bathroom tissue'],
  ] as const) {
    t.deepEqual(labels[index], {synset, label});
  }
  t.is(await resolveLabels(undefined, 1000), labels);
});

test('labels that were not there are looked for again', async t => {
  const folder = await temporaryFolder(t);
  const outfile = join(folder, 'labels.mjs');
  await build({entryPoints: ['ts/labels.ts'], outfile, bundle: true, platform: 'node', format: 'esm'});
  const bundle = (await import(outfile)) as {imageNetLabels: typeof imageNetLabels};
  await t.throwsAsync(bundle.imageNetLabels(), {code: 'ERR_FILE_NOT_FOUND', message: /imagenet\.txt/});
  await cp('assets/imagenet.txt', join(folder, 'assets/imagenet.txt'));
  t.deepEqual(await bundle.imageNetLabels(), await imageNetLabels());
});

test('other networks have the labels that are given, or numbers', async t => {
  t.deepEqual(await resolveLabels(undefined, 2), [{label: '0'}, {label: '1'}]);
  t.deepEqual(await resolveLabels(['cat', 'dog'], 2), [{label: 'cat'}, {label: 'dog'}]);
  const file = join(await temporaryFolder(t), 'labels');
  for (const text of [
    'cat\ndog',
    ' cat \r\ndog\r\n',
    '["cat", "dog"]',
    '\ufeff["cat", "dog"]',
    '\ufeffcat\ndog',
  ]) {
    await writeFile(file, text);
    t.deepEqual(await resolveLabels(file, 2), [{label: 'cat'}, {label: 'dog'}], text);
  }
});

test('labels cannot be changed', async t => {
  for (const labels of [
    await imageNetLabels(),
    await resolveLabels(undefined, 2),
    await resolveLabels(['cat', 'dog'], 2),
  ]) {
    t.true(Object.isFrozen(labels) && labels.every(Object.isFrozen));
  }
});

test('labels that fit no network are refused', async t => {
  const file = join(await temporaryFolder(t), 'labels.json');
  await writeFile(file, '["cat", 7]');
  const broken = join(dirname(file), 'broken.json');
  await writeFile(broken, '["cat", "dog"');
  for (const [labels, code, message] of [
    [['cat'], 'ERR_LABELS', 'Expected 2 labels in labels, one for each class, but received 1.'],
    [['cat', 3], 'ERR_LABELS', 'Expected a string for each label in labels but number 1 is number.'],
    [file, 'ERR_LABELS', `Expected a string for each label in ${file} but number 1 is number.`],
    [broken, 'ERR_LABELS', `Expected a JSON array of strings in ${broken} but it does not parse.`],
    [
      null,
      'ERR_INVALID_ARGUMENT',
      'Expected an array of strings or the path of a file for labels but received null.',
    ],
    [
      7,
      'ERR_INVALID_ARGUMENT',
      'Expected an array of strings or the path of a file for labels but received 7.',
    ],
  ] as const) {
    await t.throwsAsync(resolveLabels(labels as never, 2), {code, message});
  }
});
