import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import {packTar, type TarEntry} from 'modern-tar';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {Random} from '../random.ts';
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

test('tar: links are not followed: those to images, labels and fields are errors of their rows', async t => {
  const file = join(await temporaryFolder(t), 'a.tar');
  const link = (name: string, type: 'link' | 'symlink'): TarEntry => ({
    header: {name, type, linkname: 'a.jpg', size: 0},
  });
  const members = [
    member('a.jpg', 'a'),
    link('b.jpg', 'link'),
    link('c.cls', 'link'),
    link('d.jpg', 'symlink'),
    member('e.jpg', 'e'),
    link('e.json', 'link'),
  ];
  await writeFile(file, await packTar(members));
  t.deepEqual(
    (await all(file)).map(({id, message}) => [id.replace(`${file}/`, ''), message?.replace(file, 'TAR')]),
    [
      ['a.jpg', undefined],
      ['b.jpg', 'Cannot read TAR/b.jpg: it is a link to a.jpg.'],
      ['c.cls', 'Cannot read TAR/c.cls: it is a link to a.jpg.'],
      ['d.jpg', 'Cannot read TAR/d.jpg: it is a link to a.jpg.'],
      ['e.jpg', 'Cannot read TAR/e.json: it is a link to a.jpg.'],
    ],
  );
});

/** Makes the first member one of another type, by its header alone. */
function retyped(tar: Uint8Array, type: string, isExtended = false): Buffer {
  const bytes = Buffer.from(tar);
  bytes.write(type, 156);
  bytes[482] = Number(isExtended);
  bytes.fill(' ', 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(sum.toString(8).padStart(6, '0'), 148);
  return bytes;
}

test('tar: sparse files of GNU tar are errors of their own rows, as their zeros are not in it', async t => {
  const root = await temporaryFolder(t);
  const members = [member('a.jpg', 'aaa'), member('b.jpg', 'b')];
  const old = retyped(await packTar(members), 'S');
  const list = Buffer.alloc(1024); // Where the zeros were, in two more blocks.
  list[504] = 1;
  const extended = retyped(await packTar(members), 'S', true);
  const pax = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'a.jpg'};
  const posix = [{...member('GNUSparseFile.1/a.jpg', 'aaa')}, members[1]!];
  posix[0]!.header.pax = pax;
  for (const [name, bytes] of [
    ['old.tar', old],
    ['extended.tar', Buffer.concat([extended.subarray(0, 512), list, extended.subarray(512)])],
    ['posix.tar', await packTar(posix)],
  ] as const) {
    const file = join(root, name);
    await writeFile(file, bytes);
    const [a, b, ...rest] = await all(file);
    t.like(a, {id: `${file}/a.jpg`, code: 'ERR_SOURCE'}, name);
    t.is(
      a!.message,
      `Cannot read ${file}/a.jpg: it is stored as a sparse file: create the tar without --sparse.`,
    );
    t.deepEqual([b!.id, bytesOf(b).toString()], [`${file}/b.jpg`, 'b'], name);
    t.deepEqual(rest, []);
  }
});

test('tar: long names in each of its formats, and sizes that fill more than their digits', async t => {
  const file = join(await temporaryFolder(t), 'a.tar');
  const long = `${'folder/'.repeat(30)}a.jpg`;
  const image = Buffer.from('image');
  const [pax, plain] = await Promise.all([packTar([member(long, image)]), packTar([member('a.jpg', image)])]);
  const name = Buffer.alloc(512);
  name.write(long);
  const gnu = retyped(await packTar([member('././@LongLink', name)]), 'L').subarray(0, 1024);
  const base256 = Buffer.from(plain);
  base256.fill(0, 124, 136);
  base256[124] = 0x80;
  base256[135] = image.length;
  const v7 = Buffer.from(plain);
  v7.fill(0, 257, 512);
  for (const [bytes, expected] of [
    [pax, long],
    [Buffer.concat([gnu, plain]), long],
    [retyped(base256, '0'), 'a.jpg'],
    [retyped(v7, '\0'), 'a.jpg'],
  ] as const) {
    await writeFile(file, bytes);
    const [record, ...rest] = await all(file);
    t.deepEqual([record!.id, bytesOf(record), rest], [`${file}/${expected}`, image, []]);
  }
});

test('tar: what is damaged ends the source, and says what is wrong', async t => {
  const file = join(await temporaryFolder(t), 'a.tar');
  const tar = await packTar([member('a.jpg', 'aaa')]);
  const damaged = Buffer.from(tar);
  damaged[0]!++;
  const noNumber = Buffer.from(tar);
  noNumber.write('x', 124);
  const pax = retyped(await packTar([member('pax', '99 path=b.jpg\n')]), 'x').subarray(0, 1024);
  for (const [bytes, problem] of [
    ['', 'it is cut short'],
    [tar.subarray(0, 1024), 'it is cut short'],
    [damaged, 'a header is damaged'],
    [retyped(noNumber, '0'), 'a header is damaged'],
    [Buffer.concat([tar, tar]), 'data follows its end, perhaps a second tar'],
    [Buffer.concat([pax, tar]), 'a pax header is damaged'],
    ['no tar '.repeat(100), 'a header is damaged'],
  ] as const) {
    await writeFile(file, bytes);
    const {error} = await untilError(file);
    t.like(error, {code: 'ERR_SOURCE', message: `Cannot read source ${file} as tar: ${problem}.`});
  }
});

test('a tar that is cut short gives the samples before the cut, and says so', async t => {
  const root = await temporaryFolder(t);
  const tar = await packTar([member('a.jpg', 'aaa'), member('b.jpg', 'b'.repeat(5000))]);
  const file = join(root, 'cut.tar');
  await writeFile(file, tar.subarray(0, 3000));
  const {ids, error} = await untilError(file);
  t.deepEqual(ids, [`${file}/a.jpg`, `${file}/b.jpg`]);
  t.like(error, {code: 'ERR_SOURCE'});
  t.regex(String(error), /Cannot read source .*cut\.tar as tar: it is cut short/);
});

test('a gzipped tar that is cut short or damaged gives the images before that, and says so', async t => {
  const file = join(await temporaryFolder(t), 'a.tar.gz');
  const random = new Random('gzip');
  const images = Array.from({length: 20}, () => Buffer.from(random.uniform(20_000, 0, 255)));
  const tar = await packTar(images.map((image, i) => member(`${i}.jpg`, image)));
  const gzip = gzipSync(tar);
  const damaged = (at: number): Buffer => {
    const bytes = Buffer.from(gzip);
    bytes.fill(0xff, at, at + 4);
    return bytes;
  };
  const half = Math.floor(gzip.length / 2);
  for (const [name, bytes, least, problem] of [
    ['cut short', gzip.subarray(0, half), 9, /unexpected end of file/],
    ['damaged', damaged(half), 9, /invalid|incorrect|a header is damaged/],
    ['without the right checksum', damaged(gzip.length - 8), 20, /incorrect data check/],
    ['without the right length', damaged(gzip.length - 4), 20, /incorrect length check/],
  ] as const) {
    await writeFile(file, bytes);
    const {records, error} = await untilError(file);
    t.like(error, {code: 'ERR_SOURCE'}, name);
    t.regex(String(error), problem, name);
    const intact = records.filter((record, i) => !record.code && bytesOf(record).equals(images[i]!));
    t.true(intact.length >= least, `${name}: ${intact.length}`);
  }
});
