import {execFileSync} from 'node:child_process';
import {mkdir, open, readdir, readFile, readlink, rm, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {setImmediate} from 'node:timers/promises';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import {packTar} from 'modern-tar';
import {RepVGG} from '../../ts/model.ts';
import type {FailedRow} from '../../ts/scoring/score_row.ts';
import {countRecords} from '../../ts/sources/count.ts';
import type {SourceOptions} from '../../ts/sources/options.ts';
import {checkNotSource} from '../../ts/sources/overwrite.ts';
import type {SourceRecord} from '../../ts/sources/record.ts';
import {openSource} from '../../ts/sources/source.ts';
import {sniffStdin} from '../../ts/sources/stdin.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {all, member, untilError} from './outcomes.ts';

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
  await mkdir(join(root, '[b]'));
  await writeFile(join(root, '[b]', 'x*.jpg'), '');
  t.deepEqual(await ids('\\[b\\]/*.jpg'), ['[b]/x*.jpg']);
  await mkdir(join(root, '{c,d}'));
  await writeFile(join(root, '{c,d}', 'y{1}.jpg'), '');
  for (const pattern of ['\\{c,d\\}/*', '\\{c,d\\}/y{1}*', '{e,\\{c\\,d\\}}/y\\{1\\}*', '*/*{1}.jpg']) {
    t.deepEqual(await ids(pattern), ['{c,d}/y{1}.jpg'], pattern);
  }
  await t.throwsAsync(ids('a/*.gif'), {code: 'ERR_FILE_NOT_FOUND', message: /no file matches it/});
  await t.throwsAsync(ids('a/*.md'), {
    code: 'ERR_SOURCE',
    message: /none of the files that match it has the extension of an image/,
  });
});

test('a glob looks only into folders that may have matches; one that cannot be read is the error of its own row', async t => {
  for (const [pattern, rest] of [
    ['*.jpg', []],
    ['a*/*.jpg', []],
    ['**/*.jpg', ['b']],
    ['{b/*,*}.jpg', ['b']],
    ['?/*.jpg', ['b']],
  ] as const) {
    const root = await temporaryFolder(t);
    for (const folder of ['a', 'b']) await mkdir(join(root, folder));
    for (const name of ['a.jpg', 'a/1.jpg', 'b/1.jpg']) await writeFile(join(root, name), '');
    const records = openSource(join(root, pattern))[Symbol.asyncIterator]();
    const first = await records.next();
    t.false('error' in first.value);
    await rm(join(root, 'b'), {recursive: true});
    const found: string[] = [];
    for (let next = await records.next(); !next.done; next = await records.next()) {
      if ('error' in next.value) found.push(next.value.id.replace(`${root}/`, ''));
    }
    t.deepEqual(found, [...rest], pattern);
  }
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
  // As of Unix version 7: without "ustar", and so with a smaller sum.
  const oldTar = Buffer.from(await packTar([member('a.jpg', photo)]));
  const mark = oldTar.subarray(257, 265);
  const sum = Number.parseInt(oldTar.toString('latin1', 148, 154), 8) - mark.reduce((a, b) => a + b);
  oldTar.write(sum.toString(8).padStart(6, '0'), 148);
  mark.fill(0);
  for (const [bytes, expected] of [
    [photo, 'image'],
    [Buffer.from('PAR1'.padEnd(600)), 'parquet'],
    [Buffer.from('{"image": "a.jpg"}\n'), 'ndjson'],
    [Buffer.from('a.jpg\n'), 'list'],
    [Buffer.from('a,b.jpg\nid,path\n'), 'list'],
    [Buffer.from('path\na.jpg\n'), 'list'],
    [Buffer.from('\ufeffid,"path"\r\n1,a.jpg\n'), 'csv'],
    [Buffer.from('id\turl\n1\thttp://a/b.jpg\n'), 'tsv'],
    [Buffer.from(''), 'list'],
    [gzipSync('x'), 'tar'],
    [await packTar([member('a.jpg', photo)]), 'tar'],
    [oldTar, 'tar'],
    [Buffer.concat([oldTar.subarray(0, 148), Buffer.from('0000001'), oldTar.subarray(155)]), 'list'],
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

test('a line that is too long to be held is the error of its own row', async t => {
  const root = await temporaryFolder(t);
  const long = 'x'.repeat(2 ** 24 + 2 ** 19);
  for (const [name, line, others] of [
    ['list.txt', long, ['a.jpg', 'b.jpg']],
    ['list.ndjson', `{"path": "c.jpg", "long": "${long}"}`, ['{"path": "a.jpg"}', '{"path": "b.jpg"}']],
  ] as const) {
    const file = join(root, name);
    await writeFile(file, [others[0], line, others[1], line].join('\n'));
    t.deepEqual(
      (await all(file)).map(({id, message}) => [id, message]),
      [
        ['a.jpg', undefined],
        [`${file}:2`, `Cannot read ${file}:2: the line is longer than 16 MiB.`],
        ['b.jpg', undefined],
        [`${file}:4`, `Cannot read ${file}:4: the line is longer than 16 MiB.`],
      ],
    );
  }
});

test('fields and columns that a source cannot have are refused before its first record', async t => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'cat'));
  await writeFile(join(root, 'cat', 'a.jpg'), '');
  await writeFile(join(root, 'list.txt'), 'a.jpg');
  await writeFile(join(root, 'list.csv'), ['path', ...Array(99).keys()].join(','));
  t.like(await all(root, {fields: ['label']}), [{label: 'cat'}]);
  const refused = (source: string, fields: string[], message: RegExp) =>
    t.throwsAsync(all(join(root, source), {fields}), {code: 'ERR_SOURCE', message}, source);
  await refused('.', ['label', 'sku'], /expected a field named sku but a folder has only label\.$/);
  await refused('cat/a.jpg', ['label'], /expected a field named label but an image has none\.$/);
  await refused('list.txt', ['sku'], /expected a field named sku but a list has none\.$/);
  await refused(
    'list.csv',
    ['sku'],
    /expected a column named sku but its columns are path, 0, .*, 18 and 80 more\.$/,
  );
  const packed = join(root, 'a.tar');
  await writeFile(packed, await packTar([member('a.jpg', '')]));
  for (const [source, name, kind] of [
    [root, 'imageColumn', 'a folder'],
    [join(root, 'cat/a.jpg'), 'idColumn', 'an image'],
    [join(root, 'list.txt'), 'labelColumn', 'a list'],
    [packed, 'idColumn', 'a tar'],
  ] as const) {
    const message = `Cannot read source ${source}: expected a column named sku but ${kind} has no columns.`;
    await t.throwsAsync(all(source, {[name]: 'sku'}), {code: 'ERR_SOURCE', message});
  }
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
  t.regex(records[4]!.message!, /expected a column named image, .* but its columns are id, caption/);
  t.like(records[5], {id: 'y', message: `Expected a path, a URL or bytes in column image of ${file}:7.`});
});

test('NDJSON: whole numbers that a double cannot hold, and ids that are objects, stay apart', async t => {
  const file = join(await temporaryFolder(t), 'list.ndjson');
  const lines = [
    '{"id": 9007199254740993, "image": "a.jpg", "parent": -9007199254740993, "ratio": 0.1234567890123456789}',
    '{"id": 9007199254740992, "image": "a.jpg", "note": "a \\" 9007199254740993", "list": [1, 12345678901234567890]}',
    '{"id": {"shop": 1}, "image": "a.jpg"}',
    '{"id": ["x", 2], "image": "a.jpg"}',
  ];
  await writeFile(file, lines.join('\n'));
  const records = await all(file);
  t.deepEqual(
    records.map(({id}) => id),
    ['9007199254740993', '9007199254740992', '{"shop":1}', '["x",2]'],
  );
  t.deepEqual(
    records.slice(0, 2).map(({fields}) => fields),
    [
      {parent: '-9007199254740993', ratio: 0.12345678901234568},
      {note: 'a " 9007199254740993', list: [1, '12345678901234567890']},
    ],
  );
});

test('CSV and TSV: quotes, chosen columns; a row of another length is the error of its own row', async t => {
  const root = await temporaryFolder(t);
  const csv = join(root, 'list.csv');
  await writeFile(
    csv,
    '\uFEFFphoto,name,kind\r\n"a, b.jpg",one,cat\r\nc.jpg,two\r\n"d\n""e"".jpg",three,\r\n',
  );
  const ids = async (options: SourceOptions): Promise<string[]> =>
    (await all(csv, options)).map(({id}) => id);
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
    message: `Cannot find the images of ${csv}: expected a column named image, path, file, filename, url, uri but its columns are photo, name, kind.`,
  });
  await writeFile(csv, 'path,id,name,name,id\nx.jpg,1,a,b,2\n');
  await t.throwsAsync(all(csv), {code: 'ERR_SOURCE', message: /two columns are named id\.$/});
  t.deepEqual(await ids({idColumn: 'path'}), ['x.jpg']);
  await t.throwsAsync(ids({idColumn: 'path', fields: ['name']}), {message: /are named name/});
  const tsv = join(root, 'list.tsv');
  await writeFile(tsv, 'path\tid\nx.jpg\t1\n');
  t.deepEqual(await all(tsv), [{id: '1', image: join(root, 'x.jpg'), fields: {}}]);
});

test('the columns of image, id and label are fields too where they are asked for', async t => {
  const file = join(await temporaryFolder(t), 'list.csv');
  await writeFile(file, 'path,id,kind,width\nx.jpg,1,cat,3\n');
  const fieldsOf = async (fields?: string[]): Promise<unknown> =>
    (await all(file, {labelColumn: 'kind', fields}))[0]!.fields;
  t.deepEqual(await fieldsOf(), {width: '3'});
  t.deepEqual(await fieldsOf(['path', 'id', 'kind']), {width: '3', path: 'x.jpg', id: '1', kind: 'cat'});
});

test('a row whose image is missing keeps its label and fields', async t => {
  const file = join(await temporaryFolder(t), 'list.csv');
  await writeFile(file, 'path,label,sku\n,cat,12\n');
  for await (const record of openSource(file)) {
    t.true('error' in record);
    t.like(record, {label: 'cat', fields: {sku: '12'}});
  }
  t.plan(2);
});

test('names and rows that are not UTF-8 are errors of their own rows', async t => {
  const root = await temporaryFolder(t);
  const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
  const list = join(root, 'list.txt');
  await writeFile(list, latin1('é.jpg\nè.jpg\nb.jpg\n'));
  t.deepEqual(
    (await all(list)).map(({id, message}) => [id, message]),
    [
      [`${list}:1`, `Cannot read ${list}:1: the line is not UTF-8.`],
      [`${list}:2`, `Cannot read ${list}:2: the line is not UTF-8.`],
      ['b.jpg', undefined],
    ],
  );
  const ndjson = join(root, 'list.ndjson');
  await writeFile(ndjson, latin1('{"path": "a.jpg", "name": "é"}\n{"path": "b.jpg"}\n'));
  t.deepEqual(
    (await all(ndjson)).map(({message}) => message),
    [`Cannot read ${ndjson}:1: the line is not UTF-8.`, undefined],
  );
  const csv = join(root, 'list.csv');
  await writeFile(csv, latin1('path,id,name\na.jpg,1,é\nb.jpg,ü,x\nc.jpg,3,y\n'));
  const messagesOf = async (options: object): Promise<unknown[]> =>
    (await all(csv, options)).map(({message}) => message);
  t.deepEqual(await messagesOf({}), [undefined, `Cannot read ${csv}:3: column id is not UTF-8.`, undefined]);
  t.deepEqual(await messagesOf({fields: ['name']}), [
    `Cannot read ${csv}:2: column name is not UTF-8.`,
    `Cannot read ${csv}:3: column id is not UTF-8.`,
    undefined,
  ]);
  const image = Buffer.concat([Buffer.from(root), latin1('/é.jpg')]);
  await writeFile(image, await readFile(photos[0]!));
  await using model = await RepVGG.load('digits', {device: 'cpu'});
  const rows = await Readable.from(model.score(openSource(join(root, '*.jpg')))).toArray();
  t.is(rows.length, 1);
  t.regex((rows[0] as FailedRow).error.message, /\.jpg: no such file, since its name is not UTF-8\.$/);
});

test('CSV and TSV: quotes inside a cell that is not quoted are text', async t => {
  const root = await temporaryFolder(t);
  for (const [name, delimiter] of [
    ['list.csv', ','],
    ['list.tsv', '\t'],
  ] as const) {
    const file = join(root, name);
    const rows = ['path,size', 'x.jpg,6" pipe', 'x.jpg,a "b" c', 'x.jpg,"a ""b"""', 'x.jpg,"a" b'];
    await writeFile(file, rows.join('\n').replaceAll(',', delimiter));
    t.deepEqual(
      (await all(file)).map(({fields}) => (fields as {size: string}).size),
      ['6" pipe', 'a "b" c', 'a "b"', '"a" b'],
    );
    const open = ['path,size', 'a.jpg,"abc', 'b.jpg,"x" y', 'c.jpg,"z"', 'd.jpg,"two\nlines"', 'e.jpg,5'];
    await writeFile(file, open.join('\n').replaceAll(',', delimiter));
    t.deepEqual(
      (await all(file)).map(({id, message}) => [id.replace(`${root}/`, ''), message?.replace(/^.*: /, '')]),
      [
        [
          `${name}:3`,
          'a cell begins with a quote that is not closed; the lines up to this one were read as part of it.',
        ],
        ['c.jpg', undefined],
        ['d.jpg', undefined],
        ['e.jpg', undefined],
      ],
    );
  }
});

test('a quote that nobody closes ends a CSV with the rows before it', async t => {
  const csv = join(await temporaryFolder(t), 'list.csv');
  await writeFile(csv, 'path\na.jpg\n"b.jpg\nc.jpg\n');
  const {ids, error} = await untilError(csv);
  t.deepEqual(ids, ['a.jpg']);
  t.like(error, {code: 'ERR_SOURCE'});
  t.regex(String(error), /Quote Not Closed/);
  // More rows than a parser holds for those who read slowly.
  const names = Array.from({length: 100}, (_, i) => `${i}.jpg`);
  await writeFile(csv, `path\n${names.join('\n')}\n"b.jpg\nc.jpg\n`);
  const slow: string[] = [];
  await t.throwsAsync(
    async () => {
      for await (const {id} of openSource(csv)) {
        slow.push(id);
        await setImmediate();
      }
    },
    {code: 'ERR_SOURCE'},
  );
  t.deepEqual(slow, names);
});

test('records are counted where that is cheap, and never taken out of a pipe', async t => {
  const root = await temporaryFolder(t);
  await writeFile(join(root, 'list.csv'), 'path\na.jpg\nb.jpg\n');
  t.is(await countRecords(join(root, 'list.csv')), 2);
  t.is(await countRecords(join(root, 'list.csv'), {format: 'tar'}), undefined);
  const pipe = join(root, 'pipe.txt');
  execFileSync('mkfifo', [pipe]);
  const counted = countRecords(pipe);
  const writer = await open(pipe, 'r+'); // Which does not wait for a reader.
  await writer.write('a.jpg\n');
  t.is(await counted, undefined);
  await writer.close();
});

test('an image is a source of one; what is no source is refused', async t => {
  t.deepEqual(await all(photos[0]!), [{id: photos[0]!, image: photos[0]!}] as SourceRecord[]);
  const odd = join(await temporaryFolder(t), 'odd.xyz');
  await writeFile(odd, '');
  await t.throwsAsync(all(odd), {code: 'ERR_SOURCE', message: /Cannot tell the format of source/});
  for (const url of ['https://example.com/list.csv?a=1', 's3://images/*']) {
    const message = `Cannot read source ${url}: expected a folder, a file or "-"; a list or table may contain URLs of images.`;
    await t.throwsAsync(all(url), {code: 'ERR_SOURCE', message});
  }
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
