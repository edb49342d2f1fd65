import {mkdir, readdir, readFile, readlink, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import type {SchemaElement} from 'hyparquet';
import {parquetWriteBuffer} from 'hyparquet-writer';
import {packTar} from 'modern-tar';
import {checkNotSource, openSource, type SourceOptions, type SourceRecord} from '../../ts/sources/source.ts';
import {sniffStdin} from '../../ts/sources/stdin.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';

interface Outcome {
  id: string;
  image?: unknown;
  label?: string;
  fields?: object;
  code?: string;
  message?: string;
}

/** All records of a source; those that cannot be read by the code and message of their error. */
async function all(path: string, options?: SourceOptions): Promise<Outcome[]> {
  const found: Outcome[] = [];
  for await (const record of openSource(path, options)) {
    if (!('error' in record)) found.push(record as Outcome);
    else found.push({id: record.id, code: record.error.code, message: record.error.message});
  }
  return found;
}

/** The records before the error that ends a source, and the error. */
async function untilError(path: string): Promise<{ids: string[]; error: unknown}> {
  const ids: string[] = [];
  try {
    for await (const {id} of openSource(path)) ids.push(id);
  } catch (error) {
    return {ids, error};
  }
  throw new Error('expected an error');
}

const bytesOf = (record: Outcome | undefined): Buffer => Buffer.from(record?.image as Uint8Array);

test('a folder: its images in the order of their names, labelled by its subfolders', async t => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'dog', 'small'), {recursive: true});
  await mkdir(join(root, 'cat'));
  for (const name of ['z.png', 'dog/b.JPG', 'dog/small/a.webp', 'dog/notes.txt', 'cat/10.jpg', 'cat/9.jpg']) {
    await writeFile(join(root, name), '');
  }
  await symlink(join(root, 'z.png'), join(root, 'y.png'));
  await symlink(root, join(root, 'cat', 'loop'));
  await symlink(join(root, 'dog', 'small'), join(root, 'cow'));
  await writeFile(join(root, '.hidden.jfif'), '');
  t.deepEqual(
    await all(root),
    [
      {id: '.hidden.jfif'},
      {id: 'cat/10.jpg', label: 'cat'},
      {id: 'cat/9.jpg', label: 'cat'},
      {id: 'cow/a.webp', label: 'cow'},
      {id: 'dog/b.JPG', label: 'dog'},
      {id: 'dog/small/a.webp', label: 'dog'},
      {id: 'y.png'},
      {id: 'z.png'},
    ].map(({id, ...rest}) => ({id: join(root, id), image: join(root, id), ...rest})),
  );
  await t.throwsAsync(all(join(root, 'no such')), {code: 'ERR_FILE_NOT_FOUND'});
  await mkdir(join(root, 'empty'));
  await t.throwsAsync(all(join(root, 'empty')), {code: 'ERR_SOURCE', message: /no images in it/});
});

test('a glob matches files of any kind, each read as its own', async t => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'a'));
  await writeFile(join(root, 'a', '1.jpg'), '');
  await writeFile(join(root, 'a', '2.txt'), 'x.jpg\ny.jpg\n');
  await writeFile(join(root, 'a', '3.md'), '');
  const ids = async (pattern: string): Promise<string[]> =>
    (await all(join(root, pattern))).map(({id}) => id.replace(`${root}/`, ''));
  t.deepEqual(await ids('**/*'), ['a/1.jpg', 'x.jpg', 'y.jpg']);
  t.deepEqual(await ids('a/*.{jpg,png}'), ['a/1.jpg']);
  await t.throwsAsync(ids('a/*.gif'), {code: 'ERR_FILE_NOT_FOUND', message: /no file matches it/});
  await t.throwsAsync(ids('a/*.md'), {code: 'ERR_SOURCE', message: /no file that matches it is an image/});
});

test('an output that would take the place of its source is seen', async t => {
  const root = await temporaryFolder(t);
  const list = join(root, 'list.csv');
  await writeFile(list, 'path\n');
  await symlink(list, join(root, 'link.csv'));
  for (const [source, output] of [
    [list, list],
    [join(root, 'link.csv'), list],
    [list, join(root, 'link.csv')],
    [join(root, '*.csv'), join(root, 'new.csv')],
  ] as const) {
    await t.throwsAsync(checkNotSource(output, openSource(source)), {code: 'ERR_INVALID_ARGUMENT'}, source);
  }
  for (const source of [list, root, join(root, '*.txt'), '-']) {
    await t.notThrowsAsync(checkNotSource(join(root, 'new.csv'), openSource(source)));
  }
  await t.notThrowsAsync(checkNotSource(list, ['a.jpg']));
});

test('what standard input looks like', async t => {
  const photo = await readFile(photos[0]!);
  for (const [bytes, expected] of [
    [photo, 'image'],
    [Buffer.from('PAR1'.padEnd(600)), 'parquet'],
    [Buffer.from('{"image": "a.jpg"}\n'), 'ndjson'],
    [Buffer.from('a.jpg\n'), 'list'],
    [Buffer.from(''), 'list'],
    [gzipSync('x'), 'tar'],
    [await packTar([member('a.jpg', photo)]), 'tar'],
  ] as const) {
    const {stream, sniffed} = await sniffStdin(Readable.from([bytes]));
    t.is(sniffed, expected);
    t.deepEqual(Buffer.concat(await Readable.from(stream).toArray()), Buffer.from(bytes));
  }
});

test('a list: paths start at its folder, URLs stay, empty lines are skipped', async t => {
  const root = await temporaryFolder(t);
  const list = join(root, 'list.txt');
  await writeFile(list, '\uFEFFa b.jpg\r\n\n/c.png\nhttps://example.com/d.jpg?x=1\nhttp://\nlast.jpg');
  t.deepEqual(await all(list), [
    {id: 'a b.jpg', image: join(root, 'a b.jpg')},
    {id: '/c.png', image: '/c.png'},
    {id: 'https://example.com/d.jpg?x=1', image: new URL('https://example.com/d.jpg?x=1')},
    {
      id: 'http://',
      code: 'ERR_SOURCE',
      message: 'Expected a path or a URL but received "http://".',
    },
    {id: 'last.jpg', image: join(root, 'last.jpg')},
  ]);
  t.is((await all(list, {root: '/elsewhere'}))[0]!.image, '/elsewhere/a b.jpg');
});

test('a line as long as no path ends the source', async t => {
  const list = join(await temporaryFolder(t), 'list.txt');
  await writeFile(list, `a.jpg\n${'x'.repeat(2 ** 24 + 2 ** 19)}`);
  const {ids, error} = await untilError(list);
  t.deepEqual(ids, ['a.jpg']);
  t.like(error, {code: 'ERR_SOURCE'});
  t.regex(String(error), /line 2 has more than 16 MiB/);
});

test('NDJSON: ids, labels and fields; a bad line is the error of its own row', async t => {
  const root = await temporaryFolder(t);
  const file = join(root, 'list.ndjson');
  const lines = [
    '{"id": 7, "image": "a.jpg", "label": "cat", "width": 3}',
    '',
    'no JSON',
    '[]',
    '{"url": "https://example.com/b.jpg"}',
    '{"id": "x", "caption": "an image"}',
    '{"id": "y", "image": null}',
  ];
  await writeFile(file, lines.join('\n'));
  const records = await all(file);
  t.deepEqual(records.slice(0, 1), [{id: '7', image: join(root, 'a.jpg'), label: 'cat', fields: {width: 3}}]);
  t.like(records[1], {id: `${file}:3`, code: 'ERR_SOURCE'});
  t.like(records[2], {id: `${file}:4`, message: `Cannot read ${file}:4: expected a JSON object.`});
  t.like(records[3], {id: 'https://example.com/b.jpg', image: new URL('https://example.com/b.jpg')});
  t.like(records[4], {id: `${file}:6`, code: 'ERR_SOURCE'});
  t.regex(records[4]!.message!, /expected a column one of image, .* but its columns are id, caption/);
  t.like(records[5], {id: 'y', message: `Expected a path, a URL or bytes in column image of ${file}:7.`});
});

test('CSV and TSV: quotes, chosen columns; a row of another length is the error of its own row', async t => {
  const root = await temporaryFolder(t);
  const csv = join(root, 'list.csv');
  await writeFile(
    csv,
    '\uFEFFphoto,name,kind\r\n"a, b.jpg",one,cat\r\nc.jpg,two\r\n"d\n""e"".jpg",three,\r\n',
  );
  const columns = {imageColumn: 'photo', idColumn: 'name', labelColumn: 'kind'};
  t.deepEqual(await all(csv, columns), [
    {id: 'one', image: join(root, 'a, b.jpg'), label: 'cat', fields: {}},
    {
      id: `${csv}:3`,
      code: 'ERR_SOURCE',
      message: `Cannot read ${csv}:3: expected 3 columns but received 2.`,
    },
    {id: 'three', image: join(root, 'd\n"e".jpg'), fields: {}},
  ]);
  await t.throwsAsync(all(csv), {
    code: 'ERR_SOURCE',
    message: `Cannot find the images of ${csv}: expected a column one of image, path, file, filename, url, uri but its columns are photo, name, kind.`,
  });
  const tsv = join(root, 'list.tsv');
  await writeFile(tsv, 'path\tid\nx.jpg\t1\n');
  t.deepEqual(await all(tsv), [{id: '1', image: join(root, 'x.jpg'), fields: {}}]);
});

test('a quote that nobody closes ends a CSV with the rows before it', async t => {
  const csv = join(await temporaryFolder(t), 'list.csv');
  await writeFile(csv, 'path\na.jpg\n"b.jpg\nc.jpg\n');
  const {ids, error} = await untilError(csv);
  t.deepEqual(ids, ['a.jpg']);
  t.like(error, {code: 'ERR_SOURCE'});
  t.regex(String(error), /Quote Not Closed/);
});

test('Parquet: a column of paths, of bytes or of {bytes, path}, row group by row group', async t => {
  const root = await temporaryFolder(t);
  const file = join(root, 'list.parquet');
  const bytes = await Promise.all(photos.slice(0, 3).map(path => readFile(path)));
  const write = async (columnData: Parameters<typeof parquetWriteBuffer>[0]['columnData'], codec = {}) =>
    writeFile(file, Buffer.from(parquetWriteBuffer({columnData, rowGroupSize: 2, ...codec})));
  await write([
    {name: 'id', data: [1n, 2n, 3n], type: 'INT64'},
    {name: 'path', data: ['a.jpg', null, 'c.jpg'], type: 'STRING'},
    {name: 'label', data: ['cat', 'dog', null], type: 'STRING'},
  ]);
  const paths = await all(file);
  t.deepEqual(paths[0], {id: '1', image: join(root, 'a.jpg'), label: 'cat', fields: {}});
  t.like(paths[1], {id: '2', message: `Expected a path, a URL or bytes in column path of ${file}:1.`});
  t.deepEqual(paths[2], {id: '3', image: join(root, 'c.jpg'), fields: {}});

  await write([
    {name: 'image', data: bytes, type: 'BYTE_ARRAY'},
    {name: 'width', data: [1, 2, 3], type: 'INT32'},
  ]);
  const records = await all(file);
  t.deepEqual(
    records.map(({id, fields}) => ({id, fields})),
    [0, 1, 2].map(i => ({id: `${file}:${i}`, fields: {width: i + 1}})),
  );
  for (const [i, record] of records.entries()) t.deepEqual(bytesOf(record), bytes[i]!);
});

test('Parquet: bytes beside a path that need not be unique, ids of other types, and the columns that are needed', async t => {
  const root = await temporaryFolder(t);
  const file = join(root, 'list.parquet');
  const bytes = await readFile(photos[0]!);
  const schema: SchemaElement[] = [
    {name: 'root', num_children: 4},
    {name: 'image', repetition_type: 'OPTIONAL', num_children: 2},
    {name: 'bytes', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY'},
    {name: 'path', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY', converted_type: 'UTF8'},
    {name: 'time', repetition_type: 'OPTIONAL', type: 'INT64', converted_type: 'TIMESTAMP_MILLIS'},
    {name: 'hash', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY'},
    {name: 'wide', repetition_type: 'OPTIONAL', type: 'INT32'},
  ];
  const columnData = [
    {
      name: 'image',
      data: [
        {bytes, path: '1.jpg'},
        {bytes, path: '1.jpg'},
        {bytes: null, path: 'a/b.jpg'},
      ],
    },
    {name: 'time', data: [new Date(0), new Date(1), null]},
    {name: 'hash', data: [Uint8Array.of(0xab, 1), Uint8Array.of(0xab, 2), null]},
    {name: 'wide', data: [1, 2, 3]},
  ];
  await writeFile(file, Buffer.from(parquetWriteBuffer({columnData, schema})));
  const ids = async (options: SourceOptions = {}): Promise<string[]> =>
    (await all(file, options)).map(({id}) => id);
  t.deepEqual(await ids(), [`${file}:0`, `${file}:1`, 'a/b.jpg']);
  t.deepEqual(await ids({idColumn: 'time'}), [
    '1970-01-01T00:00:00.000Z',
    '1970-01-01T00:00:00.001Z',
    'a/b.jpg',
  ]);
  t.deepEqual(await ids({idColumn: 'hash'}), ['ab01', 'ab02', 'a/b.jpg']);
  t.deepEqual(Object.keys((await all(file))[0]!.fields!), ['path', 'time', 'hash', 'wide']);
  t.deepEqual(
    (await all(file, {fields: ['path', 'wide']})).map(({fields}) => fields),
    [{path: '1.jpg', wide: 1}, {path: '1.jpg', wide: 2}, {wide: 3}],
  );
  for (const fields of [['with'], ['label']]) {
    await t.throwsAsync(all(file, {fields}), {
      code: 'ERR_SOURCE',
      message: /expected a column (with|label) but its columns are image, time, hash, wide/,
    });
  }
});

test('a Parquet file that is cut short, or none at all, is refused', async t => {
  const root = await temporaryFolder(t);
  const file = join(root, 'cut.parquet');
  const whole = Buffer.from(
    parquetWriteBuffer({columnData: [{name: 'path', data: ['a.jpg', 'b.jpg'], type: 'STRING'}]}),
  );
  for (const bytes of [
    whole.subarray(0, whole.length - 5),
    whole.subarray(0, 3),
    Buffer.from('path\na.jpg'),
  ]) {
    await writeFile(file, bytes);
    await t.throwsAsync(all(file), {
      code: 'ERR_SOURCE',
      message: /^Cannot read source .*cut\.parquet as Parquet: /,
    });
  }
});

const member = (name: string, body: string | Uint8Array) => ({
  header: {name, size: Buffer.byteLength(body)},
  body: new Uint8Array(Buffer.from(body)),
});

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

test('an image is a source of one; what is no source is refused', async t => {
  t.deepEqual(await all(photos[0]!), [{id: photos[0]!, image: photos[0]!}] as SourceRecord[]);
  const odd = join(await temporaryFolder(t), 'odd.xyz');
  await writeFile(odd, '');
  await t.throwsAsync(all(odd), {code: 'ERR_SOURCE', message: /Cannot tell what source/});
  t.throws(() => openSource(''), {code: 'ERR_INVALID_ARGUMENT'});
  t.throws(() => openSource(odd, {format: 'xml' as 'csv'}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /for format/,
  });
});

test('a source stops where it is told to, and closes its file', async t => {
  const list = join(await temporaryFolder(t), 'list.txt');
  await writeFile(list, 'a.jpg\n'.repeat(200_000));
  const controller = new AbortController();
  await t.throwsAsync(
    async () => {
      for await (const _ of openSource(list, {signal: controller.signal}))
        controller.abort(new Error('enough'));
    },
    {message: 'enough'},
  );
  for await (const _ of openSource(list)) break;
  const tar = join(await temporaryFolder(t), 'a.tar');
  await writeFile(
    tar,
    await packTar(['a.jpg', 'b.jpg', 'c.jpg'].map(name => member(name, 'x'.repeat(2 ** 20)))),
  );
  for await (const _ of openSource(tar)) break;
  t.deepEqual([await openDescriptors(list), await openDescriptors(tar)], [[], []]);
});

async function openDescriptors(path: string): Promise<string[]> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter(link => link === path);
}
