import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import {packTar, type TarEntry} from 'modern-tar';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {all, bytesOf, member, untilError} from './outcomes.ts';

test('tar: WebDataset samples with label and fields, plain or gzipped; a bad .json is the error of its own row', async t => {
  const root = await temporaryFolder(t);
  const photo = await readFile(photos[0]!);
  const tar = await packTar([
    member('README.md', 'text'),
    {header: {name: 'train/', type: 'directory', size: 0}},
    member('train/001.jpg', photo),
    member('train/001.cls', '3\n'),
    member('train/001.json', '{"width": 512}'),
    member('train/002.json', '{'),
    member('train/002.jpg', photo),
    member('train/003.seg.png', 'x'),
    member('train/003.input.jpg', photo),
    member('004.cls', 'no image'),
    member('lost.json', '{'),
    member('empty.png', ''),
  ]);
  for (const [name, bytes] of [
    ['a.tar', tar],
    ['a.tar.gz', gzipSync(tar)],
    ['a.tgz', gzipSync(tar)],
  ] as const) {
    const file = join(root, name);
    await writeFile(file, bytes);
    const records = await all(file);
    t.deepEqual(
      records.map(({id}) => id.replace(`${file}/`, '')),
      [
        'train/001.jpg',
        'train/002.jpg',
        'train/003.seg.png',
        'train/003.input.jpg',
        'lost.json',
        'empty.png',
      ],
    );
    t.like(records[0], {label: '3', fields: {width: 512}});
    t.deepEqual(bytesOf(records[0]), photo);
    t.like(records[1], {code: 'ERR_SOURCE'});
    t.regex(records[1]!.message!, /^Cannot read .*train\/002\.json: /);
    t.is(records[4]!.code, 'ERR_SOURCE');
    t.is(bytesOf(records[5]).length, 0);
    const chosen = await all(file, {imageColumn: 'input.jpg'});
    t.deepEqual(
      chosen.map(({id}) => id.replace(`${file}/`, '')),
      ['train/002.json', 'train/003.input.jpg', 'lost.json'],
    );
  }
});

test('tar: images that differ behind the first dot of their names are all there, also more than are held', async t => {
  const file = join(await temporaryFolder(t), 'a.tar');
  const names = Array.from({length: 9}, (_, i) => `IMG.${i}.jpg`);
  const image = 'x'.repeat(2 ** 24);
  await writeFile(file, await packTar([...names.map(name => member(name, image)), member('IMG.cls', '7')]));
  const records = await all(file);
  t.deepEqual(
    records.map(({id}) => id),
    names.map(name => `${file}/${name}`),
  );
  // A sample of more than 64 MiB is not held until its end.
  t.deepEqual(
    records.map(({label}) => label),
    [...Array.from({length: 8}, () => undefined), '7'],
  );
});

test('tar: links that are called like images are errors of their own rows, since nothing follows them', async t => {
  const file = join(await temporaryFolder(t), 'a.tar');
  const link = (name: string, type: 'link' | 'symlink'): TarEntry => ({
    header: {name, type, linkname: 'a.jpg', size: 0},
  });
  const members = [
    member('a.jpg', 'a'),
    link('b.jpg', 'link'),
    link('c.cls', 'link'),
    link('d.jpg', 'symlink'),
  ];
  await writeFile(file, await packTar(members));
  t.deepEqual(
    (await all(file)).map(({id, message}) => [id.replace(`${file}/`, ''), message?.replace(file, 'TAR')]),
    [
      ['a.jpg', undefined],
      ['b.jpg', 'Cannot read TAR/b.jpg: it is a link to a.jpg.'],
      ['d.jpg', 'Cannot read TAR/d.jpg: it is a link to a.jpg.'],
    ],
  );
});

test('a tar that is cut short gives the samples before the cut, and says so', async t => {
  const root = await temporaryFolder(t);
  const tar = await packTar([member('a.jpg', 'aaa'), member('b.jpg', 'b'.repeat(5000))]);
  const file = join(root, 'cut.tar');
  await writeFile(file, tar.subarray(0, 3000));
  const {ids, error} = await untilError(file);
  t.deepEqual(ids, [`${file}/a.jpg`, `${file}/b.jpg`]);
  t.like(error, {code: 'ERR_SOURCE'});
  t.regex(String(error), /Cannot read source .*cut\.tar as tar: Tar archive is truncated/);
});
