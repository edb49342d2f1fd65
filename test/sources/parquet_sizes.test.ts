/** What a Parquet file claims to have is compared with what it can have, before memory is taken for it. */
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {brotliCompressSync, gzipSync} from 'node:zlib';
import test from 'ava';
import type {CompressionCodec, SchemaElement} from 'hyparquet';
import {ByteWriter, ParquetWriter, parquetWriteBuffer} from 'hyparquet-writer';
import {temporaryFolder} from '../folder.ts';
import {all, bytesOf} from './outcomes.ts';

const largest = 2 ** 31 - 1;

/** A struct of Thrift's compact protocol, of numbers and structs. */
function thrift(fields: Record<number, number | Buffer>): Buffer {
  const bytes: number[] = [];
  let last = 0;
  for (const [key, value] of Object.entries(fields)) {
    const id = Number(key);
    bytes.push(((id - last) << 4) | (typeof value === 'number' ? 5 : 12));
    last = id;
    if (typeof value !== 'number') bytes.push(...value);
    else {
      let rest = 2 * value; // As a signed number.
      for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
      bytes.push(rest);
    }
  }
  return Buffer.from([...bytes, 0]);
}

interface Claims {
  codec?: CompressionCodec;
  repetition?: SchemaElement['repetition_type'];
  rows?: number;
  values?: number;
  uncompressed?: number;
  /** Bytes of the page. */
  page?: number;
  pages?: number;
  /** Bytes of all of them, if that is not true. */
  total?: number;
  kind?: 'v1' | 'v2' | 'dictionary';
}

/** A file of one column, whose pages are zeros. */
function fileOf({
  codec = 'SNAPPY',
  rows = 2,
  uncompressed = 10,
  page = 10,
  pages = 1,
  ...rest
}: Claims): Buffer {
  const {repetition = 'OPTIONAL', values = rows, kind = 'v1'} = rest;
  const [type, position, header] = {
    v1: [0, 5, thrift({1: values, 2: 0, 3: 3, 4: 3})],
    v2: [3, 8, thrift({1: values, 2: 0, 3: values, 4: 0, 5: 0, 6: 0})],
    dictionary: [2, 7, thrift({1: values, 2: 0})],
  }[kind] as [number, number, Buffer];
  const onePage = Buffer.concat([
    thrift({1: type, 2: uncompressed, 3: page, [position]: header}),
    Buffer.alloc(page),
  ]);
  const writer = new ByteWriter();
  const schema: SchemaElement[] = [
    {name: 'root', num_children: 1},
    {name: 'path', repetition_type: repetition, type: 'BYTE_ARRAY'},
  ];
  const parquet = new ParquetWriter({writer, schema, codec});
  for (let i = 0; i < pages; i++) writer.appendBytes(onePage);
  const meta_data = {
    type: 'BYTE_ARRAY' as const,
    encodings: ['PLAIN' as const],
    path_in_schema: ['path'],
    codec,
    num_values: BigInt(pages * values),
    total_uncompressed_size: BigInt(pages * uncompressed),
    total_compressed_size: BigInt(rest.total ?? pages * onePage.length),
    data_page_offset: 4n,
  };
  const total_byte_size = meta_data.total_uncompressed_size;
  parquet.row_groups.push({columns: [{file_offset: 0n, meta_data}], total_byte_size, num_rows: BigInt(rows)});
  parquet.finish();
  return Buffer.from(writer.getBuffer());
}

const hasDamage = /: a page of column path has a damaged header at byte 4\.$/;
const cases: Record<string, [Claims, RegExp]> = {
  'a page that is larger than its codec can make it': [{uncompressed: largest}, hasDamage],
  'a page of the second version that is': [{uncompressed: largest, kind: 'v2'}, hasDamage],
  'a page that is not compressed, and larger': [{codec: 'UNCOMPRESSED', uncompressed: 1000}, hasDamage],
  'more values than rows': [{values: largest}, hasDamage],
  'more values than rows, in the second version': [{values: largest, kind: 'v2'}, hasDamage],
  'more values in a dictionary than it has bits': [{values: largest, kind: 'dictionary'}, hasDamage],
  'lists of more values than are held': [{values: largest, repetition: 'REPEATED'}, hasDamage],
  'more rows than are held': [
    {rows: 2 ** 24 + 1},
    /: the row group at row 0 has more than 16777216 rows; write/,
  ],
  'more bytes than are held': [
    {codec: 'ZSTD', uncompressed: largest, page: 2 ** 16, pages: 2, values: 1},
    /: the row group at row 0 has more than 2 GiB; write it with smaller row groups\.$/,
  ],
  'a column beyond the end of the file': [{total: 2 ** 40}, /: it ends at byte \d+\.$/],
};

for (const [title, [claims, message]] of Object.entries(cases)) {
  test(`refused: ${title}`, async t => {
    const path = join(await temporaryFolder(t), 'a.parquet');
    await writeFile(path, fileOf(claims));
    await t.throwsAsync(all(path), {code: 'ERR_SOURCE', message});
  });
}

test('read: what compresses as well as its codec can', async t => {
  const path = join(await temporaryFolder(t), 'a.parquet');
  const image = new Uint8Array(2 ** 24);
  const data = [image, image.subarray(0, 0), image.subarray(0, 1)];
  const compressors = {
    GZIP: (bytes: Uint8Array) => gzipSync(bytes, {level: 9}),
    BROTLI: (bytes: Uint8Array) => brotliCompressSync(bytes),
  };
  const sizes: number[] = [];
  for (const codec of ['SNAPPY', 'GZIP', 'BROTLI'] as const) {
    const file = parquetWriteBuffer({
      columnData: [{name: 'image', data, type: 'BYTE_ARRAY'}],
      codec,
      compressors,
    });
    sizes.push(file.byteLength);
    await writeFile(path, Buffer.from(file));
    const records = await all(path);
    t.true(bytesOf(records[0]).equals(image), codec);
    t.deepEqual([records.length, bytesOf(records[2]).length], [3, 1], codec);
  }
  const ratios = sizes.map(size => Math.floor(image.length / size));
  t.true(ratios[0]! > 20 && ratios[1]! > 950 && ratios[2]! > 1e4, String(ratios));
});
