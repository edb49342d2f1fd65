import {mkdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {setImmediate} from 'node:timers/promises';
import test from 'ava';
import {packTar} from 'modern-tar';
import {RepVGG} from '../../ts/model.ts';
import type {FailedRow} from '../../ts/scoring/score_row.ts';
import type {SourceOptions} from '../../ts/sources/options.ts';
import {openSource} from '../../ts/sources/source.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {all, member, untilError} from './outcomes.ts';

test('a list: paths start at its folder, URLs stay, empty lines are skipped', async t => {
  const root = await temporaryFolder(t);
  const list = join(root, 'list.txt');
  await writeFile(
    list,
    '\uFEFFa b.jpg\r\n\n/c.png\nhttps://example.com/d.jpg?x=1\nhttp://\nlast.jpg\ndata:,x',
  );
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
    {id: `${list}:7`, image: new URL('data:,x')},
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
    '{"url": "s3://bucket/b.jpg"}',
    '{"id": "x", "caption": "an image"}',
    '{"id": "y", "image": null}',
  ];
  await writeFile(file, lines.join('\n'));
  const records = await all(file);
  t.deepEqual(records.slice(0, 1), [{id: '7', image: join(root, 'a.jpg'), label: 'cat', fields: {width: 3}}]);
  t.like(records[1], {id: `${file}:3`, code: 'ERR_SOURCE'});
  t.like(records[2], {id: `${file}:4`, message: `Cannot read ${file}:4: expected a JSON object.`});
  t.like(records[3], {id: 'https://example.com/b.jpg', image: new URL('https://example.com/b.jpg')});
  t.like(records[4], {id: 's3://bucket/b.jpg', image: new URL('s3://bucket/b.jpg')});
  t.like(records[5], {id: `${file}:7`, code: 'ERR_SOURCE'});
  t.regex(records[5]!.message!, /expected a column named image, .* but its columns are id, caption/);
  t.like(records[6], {
    id: 'y',
    message: `Expected a path, a URL or bytes in column image of ${file}:8 but it is empty.`,
  });
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
    message: `Cannot find the images of ${csv}: expected a column named image, path, file, filename, url, uri but its columns are photo, name, kind. Otherwise set the image column.`,
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

test('CSV: rows end as each line does, whatever the header ends with', async t => {
  const csv = join(await temporaryFolder(t), 'list.csv');
  const ends = ['\r\n', '\n', '\r'];
  for (const header of ends) {
    // Long enough for ends that are split between two pieces of the file.
    const names = Array.from({length: 2000}, (_, i) => `${i}.jpg`);
    const rows = names.map((name, i) => `${name},"a\r\nb",${i}${ends[i % 4] ?? '\n\r\n'}`);
    const text = `\uFEFFpath,text,number${header}${rows.join('')}`;
    const utf16 = Buffer.from(text, 'utf16le');
    for (const bytes of [Buffer.from(text), utf16, Buffer.from(utf16).swap16()]) {
      await writeFile(csv, bytes);
      t.deepEqual(
        (await all(csv)).map(({id, fields}) => [id, fields]),
        names.map((name, i) => [name, {text: 'a\r\nb', number: String(i)}]),
      );
    }
  }
});

test('CSV: a cell of millions of quotes or line ends is read like any other', async t => {
  const csv = join(await temporaryFolder(t), 'list.csv');
  for (const text of ['"'.repeat(7_000_000), `a${'\n'.repeat(1_000_000)}b`, '"a\n'.repeat(1_000_000)]) {
    await writeFile(csv, `path,text\nx.jpg,"\n${text.replaceAll('"', '""')}"\ny.jpg,z\n`);
    const begin = performance.now();
    const [x, y] = await all(csv);
    t.is((x!.fields as {text: string}).text, `\n${text}`);
    t.deepEqual([x!.id, y!.id], ['x.jpg', 'y.jpg']);
    t.true(performance.now() - begin < 30_000);
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
