import {copyFile, mkdir, readdir, readFile, symlink, writeFile} from 'node:fs/promises';
import {basename, join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {parquetWriteBuffer} from 'hyparquet-writer';
import {packTar} from 'modern-tar';
import {digits} from '../../ts/digits.ts';
import {type DatasetOptions, openDataset, type Sample} from '../../ts/evaluation/dataset.ts';
import {type ClassLabel, imageNetLabels} from '../../ts/labels.ts';
import {temporaryFolder} from '../cli/run.ts';
import {photo} from '../fixtures.ts';

let imageNet: readonly ClassLabel[];
test.before(async () => {
  imageNet = await imageNetLabels();
});
const named = (...names: string[]): ClassLabel[] => names.map(label => ({label}));

/** Makes files, each a photograph, and their folders. */
async function files(t: ExecutionContext, ...paths: string[]): Promise<string> {
  const folder = await temporaryFolder(t);
  for (const path of paths) {
    await mkdir(join(folder, path, '..'), {recursive: true});
    if (path.endsWith('/')) await mkdir(join(folder, path), {recursive: true});
    else await copyFile(photo('rocket.jpg'), join(folder, path));
  }
  return folder;
}

/** File names with the classes they have, or the errors. */
async function classesOf(
  path: string,
  labels: readonly ClassLabel[],
  options?: DatasetOptions,
): Promise<[string, number | string][]> {
  const dataset = await openDataset(path, labels, options);
  const found: [string, number | string][] = [];
  for await (const record of dataset.samples())
    found.push([basename(record.id), 'error' in record ? record.error.message : record.target]);
  return found;
}

test('class folders in sorted order are the classes, whatever they are called and however deep the images are', async t => {
  const folder = await files(
    t,
    'b/1.jpg',
    '10/2.jpg',
    '9/deep/3.jpg',
    '9/4.jpg',
    '9/readme.txt',
    '.cache/x.jpg',
    'loose.jpg',
  );
  t.deepEqual(await classesOf(folder, named('x', 'y', 'z')), [
    ['2.jpg', 0],
    ['4.jpg', 1],
    ['3.jpg', 1],
    ['1.jpg', 2],
  ]);
  t.is((await openDataset(folder, named('x', 'y', 'z'))).size, 4);
});

test('of val and train it is val, as for the official script, and either can be given itself', async t => {
  const folder = await files(t, 'train/a/1.jpg', 'train/b/2.jpg', 'val/a/3.jpg', 'val/b/4.jpg');
  const labels = named('a', 'b');
  t.deepEqual(await classesOf(folder, labels), [
    ['3.jpg', 0],
    ['4.jpg', 1],
  ]);
  t.deepEqual(await classesOf(join(folder, 'train'), labels), [
    ['1.jpg', 0],
    ['2.jpg', 1],
  ]);
  t.deepEqual(await classesOf(await files(t, 'train/a/1.jpg', 'train/b/2.jpg'), labels), [
    ['1.jpg', 0],
    ['2.jpg', 1],
  ]);
});

test('fewer folders than classes are classes by their synsets or names, if all are', async t => {
  const folder = await files(t, 'n02102040/1.jpg', 'n01440764/2.jpg', 'zebra/3.jpg');
  t.deepEqual(await classesOf(folder, imageNet), [
    ['2.jpg', 0],
    ['1.jpg', 217],
    ['3.jpg', 340],
  ]);
  t.is((await openDataset(folder, imageNet)).size, 3);
  for (const bad of ['7', 'crane', 'n00000000']) {
    const other = await files(t, 'n02102040/1.jpg', `${bad}/2.jpg`);
    await t.throwsAsync(openDataset(other, imageNet), {code: 'ERR_DATASET', message: /but found 2 /}, bad);
  }
});

test('folders that are called as the labels are these classes, also where the labels are in another order', async t => {
  const folder = await files(t, 'bird/1.jpg', 'cat/2.jpg', 'dog/3.jpg');
  t.deepEqual(await classesOf(folder, named('dog', 'cat', 'bird')), [
    ['1.jpg', 2],
    ['2.jpg', 1],
    ['3.jpg', 0],
  ]);
  // One of them is no label, so the others may mean something else as well.
  t.deepEqual(await classesOf(folder, named('dog', 'cat', 'fish')), [
    ['1.jpg', 0],
    ['2.jpg', 1],
    ['3.jpg', 2],
  ]);
});

test('numbers in place of labels are no names: training by ImageFolder put the folder 10 before 2', async t => {
  const numbers = Array.from({length: 11}, (_, index) => String(index));
  const folder = await files(t, ...numbers.map(number => `${number}/${number}.jpg`));
  const classes = new Map(await classesOf(folder, named(...numbers)));
  t.is(classes.get('10.jpg'), 2);
  t.is(classes.get('2.jpg'), 3);
});

test('of a list of classes, only their images count', async t => {
  const folder = await files(t, 'a/1.jpg', 'b/2.jpg', 'c/3.jpg', 'd/4.jpg');
  const labels = named('a', 'b', 'c', 'd');
  const list = async (name: string, text: string): Promise<DatasetOptions> => {
    await writeFile(join(folder, name), text);
    return {validLabels: join(folder, name)};
  };
  const some = await list('some.txt', '3\r\nb\n\n');
  t.deepEqual(await classesOf(folder, labels, some), [
    ['2.jpg', 1],
    ['4.jpg', 3],
  ]);
  t.deepEqual((await openDataset(folder, labels, some)).classes, new Set([3, 1]));
  await t.throwsAsync(openDataset(folder, labels, await list('bad.txt', 'a\n4\n')), {
    code: 'ERR_DATASET',
    message: `Cannot read classes ${folder}/bad.txt: line 2 has "4", which is no class of the network.`,
  });
  await t.throwsAsync(openDataset(folder, labels, await list('empty.txt', '\n')), {message: /it is empty/});
  await t.throwsAsync(classesOf(join(folder, '..'), labels, {validLabels: 'nowhere.txt'}), {
    code: 'ERR_FILE_NOT_FOUND',
  });
  await t.throwsAsync(classesOf(await files(t, 'a/1.jpg', 'b/2.jpg'), labels, await list('c.txt', 'c')), {
    code: 'ERR_DATASET',
    message: /no image is of a class in .*c\.txt\.$/,
  });
});

test('another number of folders is an error with both numbers', async t => {
  const folder = await files(t, 'a/1.jpg', 'b/2.jpg', 'c/3.jpg', 'd/4.jpg');
  await t.throwsAsync(openDataset(folder, named('a', 'b')), {
    code: 'ERR_DATASET',
    message: `Expected 2 class folders in ${folder}, one for each class of the network, or some of them by synset or name, but found 4 (a, b, c, ...).`,
  });
  const flat = await files(t, 'cat.jpg');
  await t.throwsAsync(openDataset(flat, named('a')), {message: /but found none \(and 1 images\)/});
  await t.throwsAsync(
    openDataset(join(flat, 'nowhere'), named('a')).then(({samples}) =>
      samples()[Symbol.asyncIterator]().next(),
    ),
    {
      code: 'ERR_FILE_NOT_FOUND',
    },
  );
});

const flatNames = [
  'ILSVRC2012_val_00000001.JPEG',
  'ILSVRC2012_val_00000002.JPEG',
  'ILSVRC2012_val_00000003.JPEG',
];

test("ImageNet's validation images without folders are recognised, and read where their synsets are given", async t => {
  const folder = await files(t, ...flatNames);
  await t.throwsAsync(openDataset(folder, imageNet), {
    code: 'ERR_DATASET',
    message: /the images of ILSVRC2012_img_val\.tar as they come.*valprep\.sh.*--ground-truth\.$/,
  });
  const lists = await temporaryFolder(t);
  const list = async (name: string, text: string): Promise<DatasetOptions> => {
    await writeFile(join(lists, name), text);
    return {groundTruth: join(lists, name)};
  };
  const expected = [65, 970, 230].map((target, i) => [flatNames[i]!, target] as [string, number]);
  const synsets = expected.map(([, target]) => imageNet[target]!.synset!);
  t.deepEqual(await classesOf(folder, imageNet, await list('synsets', `${synsets.join('\n')}\n`)), expected);
  const caffe = expected
    .map(line => line.join(' '))
    .reverse()
    .join('\r\n');
  t.deepEqual(await classesOf(folder, imageNet, await list('val.txt', caffe)), expected);
  const pairs = expected.map(([name], i) => `val/${name}\t${synsets[i]}`).join('\n');
  t.deepEqual(await classesOf(folder, imageNet, await list('pairs', pairs)), expected);

  const short = await classesOf(folder, imageNet, await list('short', synsets[0]!));
  t.is(short[0]![1], 65);
  t.regex(String(short[1]![1]), /^Cannot tell the class of .*00000002\.JPEG: it is not in the list/);
  const [training] = await classesOf(
    await files(t, 'n01440764_1.JPEG'),
    imageNet,
    await list('one', synsets[0]!),
  );
  t.regex(String(training![1]), /it is not in the list/);
  for (const [text, message] of [
    ['490\n361\n171\n', /its numbers are the devkit's/],
    ['n99999999\n', /line 1 has "n99999999", which is no class/],
    ['a.jpg 1000\n', /line 1 has "1000", which is no class/],
    ['', /it is empty/],
  ] as const) {
    await t.throwsAsync(openDataset(folder, imageNet, await list('bad', text)), {
      code: 'ERR_DATASET',
      message,
    });
  }
});

test('links to class folders, and to val, are followed', async t => {
  const classes = await files(t, 'a/1.jpg', 'b/2.jpg', 'b/below/3.jpg');
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'subset'));
  for (const name of ['a', 'b']) await symlink(join(classes, name), join(folder, 'subset', name));
  await symlink('nowhere', join(folder, 'subset', 'c'));
  await symlink(join(classes, 'a'), join(classes, 'b', 'linked'));
  await symlink('subset', join(folder, 'val'));
  t.is((await openDataset(folder, named('x', 'y'))).size, 4);
  t.deepEqual(await classesOf(folder, named('x', 'y')), [
    ['1.jpg', 0],
    ['2.jpg', 1],
    ['3.jpg', 1],
    ['1.jpg', 1],
  ]);
});

test('no images are an error rather than an accuracy of zero', async t => {
  const folder = await files(t, 'image.jpg');
  await mkdir(join(folder, 'a'));
  await writeFile(join(folder, 'list.csv'), 'image,label\n');
  for (const path of [folder, join(folder, 'list.csv')])
    await t.throwsAsync(classesOf(path, named('a')), {
      code: 'ERR_DATASET',
      message: /: there are no images in it\.$/,
    });
});

test('labels of a table are class numbers, synsets or names', async t => {
  const folder = await files(t, 'a.jpg');
  const table = join(folder, 'list.csv');
  await writeFile(
    table,
    'image,label\na.jpg,3\na.jpg,n01440764\na.jpg,goldfish\na.jpg,1000\na.jpg,\na.jpg,crane\n',
  );
  const found = (await classesOf(table, imageNet)).map(([, target]) => target);
  t.deepEqual(found.slice(0, 2), [3, 0]);
  t.regex(String(found[3]), /its label "1000" is none of the 1000 classes of the network/);
  t.regex(String(found[4]), /it has no label/);
  t.is(found[2], imageNet.findIndex(({label}) => label === 'goldfish') >= 0 ? 1 : found[2]!);
  const twice = imageNet.filter(({label}) => label === 'crane').length > 1;
  if (twice) t.regex(String(found[5]), /"crane" is none of/);
  t.is((await openDataset(table, imageNet)).size, undefined);
  const other = join(folder, 'other.csv');
  await writeFile(other, 'file,class\na.jpg,b\n');
  t.deepEqual(await classesOf(other, named('a', 'b'), {labelColumn: 'class'}), [['a.jpg', 1]]);
  await t.throwsAsync(classesOf(other, named('a', 'b'), {labelColumn: 'clas'}), {
    code: 'ERR_SOURCE',
    message: `Cannot read source ${other}: expected a column named clas but its columns are file, class.`,
  });
});

test('the embedded set', async t => {
  const dataset = await openDataset('digits', named(...'0123456789'));
  t.is(dataset.size, 360);
  const samples: Sample[] = [];
  for await (const sample of dataset.samples()) samples.push(sample as Sample);
  t.is(samples.length, (await readdir(digits.images)).length);
  t.true(samples.every(({id, target}) => id.endsWith(`-${target}.png`)));
});

test('a tar: the folder within it, or its .cls; without folders the ground truth', async t => {
  const folder = await temporaryFolder(t);
  const body = await readFile(photo('rocket.jpg'));
  const member = (name: string, content: Buffer | string = body) => ({
    header: {name, size: Buffer.byteLength(content)},
    body: content,
  });
  const tar = async (name: string, members: ReturnType<typeof member>[]): Promise<string> => {
    await writeFile(join(folder, name), await packTar(members));
    return join(folder, name);
  };
  const folders = await tar('folders.tar', [member('val/n01443537/1.jpg'), member('val/n01440764/2.jpg')]);
  t.deepEqual(await classesOf(folders, imageNet), [
    ['1.jpg', 1],
    ['2.jpg', 0],
  ]);
  const web = await tar('web.tar', [member('0.jpg'), member('0.cls', '207'), member('1.jpg')]);
  const [first, second] = await classesOf(web, imageNet);
  t.is(first![1], 207);
  t.regex(
    String(second![1]),
    /it has no label, and is in no folder \(--label-column names the column of a table\)/,
  );
  const flat = await tar('ILSVRC2012_img_val.tar', [member(flatNames[0]!), member(flatNames[1]!)]);
  await t.throwsAsync(classesOf(flat, imageNet), {
    code: 'ERR_DATASET',
    message: /in .*ILSVRC2012_img_val\.tar but found the images.*--ground-truth\.$/,
  });
  await writeFile(join(folder, 'synsets'), 'n01443537\nn01440764\n');
  const found = await classesOf(flat, imageNet, {groundTruth: join(folder, 'synsets')});
  t.deepEqual(
    found.map(([, target]) => target),
    [1, 0],
  );
});

test('a Parquet file with numbers for labels', async t => {
  const file = join(await temporaryFolder(t), 'val.parquet');
  const bytes = await readFile(photo('rocket.jpg'));
  const columnData = [
    {name: 'image', data: [bytes, bytes], type: 'BYTE_ARRAY' as const},
    {name: 'label', data: [1n, 0n], type: 'INT64' as const},
  ];
  await writeFile(file, Buffer.from(parquetWriteBuffer({columnData})));
  const found = await classesOf(file, named('cat', 'dog'));
  t.deepEqual(
    found.map(([, target]) => target),
    [1, 0],
  );
});
