import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import type {SchemaElement} from 'hyparquet';
import {parquetWriteBuffer} from 'hyparquet-writer';
import type {SourceOptions} from '../../ts/sources/options.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {all, bytesOf} from './outcomes.ts';

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
  t.like(paths[1], {
    id: '2',
    message: `Expected a path, a URL or bytes in column path of ${file}:1 but it is empty.`,
  });
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
      message: /expected a column named (with|label) but its columns are image, time, hash, wide/,
    });
  }
});

test('Parquet: decimals of any size, times finer than a Date, and ids that are lists keep what they have', async t => {
  const file = join(await temporaryFolder(t), 'list.parquet');
  const optional = {repetition_type: 'OPTIONAL'} as const;
  const decimal = {...optional, converted_type: 'DECIMAL'} as const;
  const schema: SchemaElement[] = [
    {name: 'root', num_children: 7},
    {name: 'path', ...optional, type: 'BYTE_ARRAY', converted_type: 'UTF8'},
    {name: 'key', ...decimal, type: 'FIXED_LEN_BYTE_ARRAY', type_length: 16, precision: 38, scale: 0},
    {name: 'price', ...decimal, type: 'INT64', precision: 10, scale: 2},
    {name: 'rate', ...decimal, type: 'INT64', precision: 18, scale: 6},
    {name: 'micros', ...optional, type: 'INT64', converted_type: 'TIMESTAMP_MICROS'},
    {
      name: 'nanos',
      ...optional,
      type: 'INT64',
      logical_type: {type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'NANOS'},
    },
    {name: 'tags', ...optional, converted_type: 'LIST', num_children: 1},
    {name: 'list', repetition_type: 'REPEATED', num_children: 1},
    {name: 'element', ...optional, type: 'INT64'},
  ];
  const columnData = [
    {name: 'path', data: ['a.jpg', 'a.jpg', 'a.jpg']},
    {name: 'key', data: [-9007199254740993n, -9007199254740992n, null]},
    {name: 'price', data: [4.35, -0.05, null]},
    {name: 'rate', data: [0, -0.000001, null]},
    {name: 'micros', data: [1_700_000_000_123_456n, -1n, null]},
    {name: 'nanos', data: [1_700_000_000_123_456_789n, 0n, null]},
    {name: 'tags', data: [[1n, 2n], [], null]},
  ];
  await writeFile(file, Buffer.from(parquetWriteBuffer({columnData, schema})));
  const ids = async (idColumn: string): Promise<string[]> => (await all(file, {idColumn})).map(({id}) => id);
  t.deepEqual(await ids('key'), ['-9007199254740993', '-9007199254740992', 'a.jpg']);
  t.deepEqual(await ids('tags'), ['["1","2"]', '[]', 'a.jpg']);
  t.deepEqual(await ids('micros'), ['2023-11-14T22:13:20.123456Z', '1969-12-31T23:59:59.999999Z', 'a.jpg']);
  t.deepEqual(await ids('nanos'), [
    '2023-11-14T22:13:20.123456789Z',
    '1970-01-01T00:00:00.000000000Z',
    'a.jpg',
  ]);
  t.deepEqual(
    (await all(file, {fields: ['price', 'rate']})).map(({fields}) => fields),
    [
      {price: 4.35, rate: '0.000000'},
      {price: -0.05, rate: '-0.000001'},
      {price: null, rate: null},
    ],
  );
});

test('Parquet: a row group without rows, and a column without values in LZ4', async t => {
  // What pyarrow 25 writes of tables of this kind, with write_statistics=False and store_schema=False.
  const written = {
    empty:
      'UEFSMRUEFQAVAkwVABUAEgAAABUEGSw1ABgGc2NoZW1hFQIAFQwlAhgEcGF0aCUATBwAAAAWABkcGRwmABwVDBklAA' +
      'YZGARwYXRoFQIWABYcFh4mACYIKRwVBBUAFQIAAAAWHBYAJggWHgAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24g' +
      'MjUuMC4xGRwcAAAAgAAAAFBBUjE=',
    allNull:
      'UEFSMRUEFSQVKEwVBBUAEgAA8AMFAAAAYS5qcGcFAAAAYi5qcGcVABUSFRQsFQQVEBUGFQYcAAAAkAIAAAAEAQEDAh' +
      'UEFQAVAkwVABUAEgAAABUAFQ4VECwVBBUQFQYVBhwAAABwAgAAAAQAABUEGTw1ABgGc2NoZW1hFQQAFQwlAhgEcGF0' +
      'aCUATBwAAAAVDCUCGAVsYWJlbCUATBwAAAAWBBkcGSwmABwVDBk1AAYQGRgEcGF0aBUOFgQWeBZ+JkwmCCksFQQVAB' +
      'UCABUAFRAVAgA8FhQZBhkmAAQAAAAmABwVDBk1AAYQGRgFbGFiZWwVDhYEFlAWVCakASaGASksFQQVABUCABUAFRAV' +
      'AgA8FgAZBhkmBAAAAAAWyAEWBCYIFtIBACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNS4wLjEZLBwAABwAAA' +
      'DlAAAAUEFSMQ==',
  };
  const root = await temporaryFolder(t);
  const file = join(root, 'list.parquet');
  await writeFile(file, written.empty, 'base64');
  t.deepEqual(await all(file), []);
  await writeFile(file, written.allNull, 'base64');
  t.deepEqual(
    await all(file),
    ['a.jpg', 'b.jpg'].map(id => ({id, image: join(root, id), fields: {}})),
  );
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
  await writeFile(file, '');
  await t.throwsAsync(all(file), {message: /as Parquet: it has 0 bytes\.$/});
});

test('a Parquet file with any byte changed gives rows or says what is wrong, and does not keep its reader busy for ever', async t => {
  t.timeout(60_000); // Which a reader in an endless loop would not reach: the test ends with it.
  const file = join(await temporaryFolder(t), 'list.parquet');
  const data = ['a.jpg', null, 'c.jpg'];
  const whole = Buffer.from(parquetWriteBuffer({columnData: [{name: 'path', data, type: 'STRING'}]}));
  let damaged = 0;
  for (let at = 4; at < whole.length - 8; at++) {
    for (const change of [0x01, 0x10, 0x80]) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= change;
      await writeFile(file, bytes);
      const error = await all(file).then(
        () => null,
        (error: {code?: string; message: string}) => error,
      );
      if (error) t.is(error.code, 'ERR_SOURCE', error.message);
      if (error && /a page of column path has a damaged header at byte 4\./.test(error.message)) damaged++;
    }
  }
  t.true(damaged > 0);
});
