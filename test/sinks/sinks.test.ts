import {statSync} from 'node:fs';
import {open, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {RecordBatchReader, tableFromIPC} from 'apache-arrow';
import test from 'ava';
import {parse} from 'csv-parse/sync';
import {asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects} from 'hyparquet';
import {readParquet} from 'parquet-wasm';
import {RepVGG} from '../../ts/model.ts';
import {scoreToFile} from '../../ts/score_file.ts';
import type {ScoreInput, ScoreOptions} from '../../ts/scoring/score.ts';
import type {ScoreRow} from '../../ts/scoring/score_row.ts';
import {writeArrow} from '../../ts/sinks/arrow.ts';
import {arrowSchema} from '../../ts/sinks/arrow_schema.ts';
import {columnsOf} from '../../ts/sinks/columns.ts';
import {fromJournalLine, toCsvLine, toJournalLine, toJsonLine} from '../../ts/sinks/lines.ts';
import {writeParquet} from '../../ts/sinks/parquet.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';

const source: ScoreInput[] = [
  ...photos.map((image, i) => ({
    id: `photo, "${i}"\n`,
    image,
    label: 'cat',
    fields: {width: 10 + i, tags: ['a', 'b'], big: 2n ** 60n, none: null},
  })),
  {id: 'lost', image: 'no such.jpg'},
];
const fields = ['label', 'width', 'tags', 'big', 'none'];

/** Of the digits network. */
const shape = {numClasses: 10, widths: [16, 16, 32, 64, 128]} as const;
const load = (): Promise<RepVGG> => RepVGG.load('digits', {device: 'cpu'});

async function rowsOf(model: RepVGG, options: ScoreOptions): Promise<ScoreRow[]> {
  const rows = [];
  for await (const row of model.score(source, options)) rows.push(row);
  return rows;
}

/** A row as a table has it: names inside objects behind a dot, and null for what it does not have. */
function flat(row: ScoreRow, options: ScoreOptions): Record<string, unknown> {
  return Object.fromEntries(
    columnsOf(options, shape).map(({name, kind, cellOf}) => {
      const value = cellOf(row);
      if (value instanceof Float32Array) return [name, [...value]];
      if (kind !== 'text' || value === null || typeof value === 'string') return [name, value];
      return [name, typeof value === 'bigint' ? String(value) : JSON.stringify(value)];
    }),
  );
}

/** Parquet has NaN for the vectors of failed rows. */
function withVectors(row: Record<string, unknown>, length: number): Record<string, unknown> {
  const none = new Array(length).fill(Number.NaN);
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      /^(embedding|logits)$/.test(name) ? (value ?? none) : value,
    ]),
  );
}

const cases: ScoreOptions[] = [{topK: 3, fields}, {output: 'logits'}, {output: 'embeddings', fields}];
for (const options of cases) {
  const {output = 'labels'} = options;

  test(`Parquet has the ${output} of the rows`, async t => {
    await using model = await load();
    const path = join(await temporaryFolder(t), 'rows.parquet');
    t.like(await scoreToFile(model, source, path, options), {ok: 4, failed: 1, complete: true});
    const file = await asyncBufferFromFile(path);
    const rows = await parquetReadObjects({file});
    const {numClasses, widths} = model.architecture;
    const length = output === 'logits' ? numClasses : widths[4];
    const expected = (await rowsOf(model, options)).map(row => withVectors(flat(row, options), length));
    t.deepEqual(
      rows.map(row => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value ?? null]))),
      expected,
    );
    const {schema} = await parquetMetadataAsync(file);
    t.deepEqual(
      schema.filter(({num_children}) => num_children === undefined).map(({type}) => type),
      columnsOf(options, shape).flatMap(({kind}) => {
        if (kind === 'predictions') return ['INT32', 'BYTE_ARRAY', 'DOUBLE'] as const;
        return [{text: 'BYTE_ARRAY', number: 'DOUBLE', vector: 'FLOAT'}[kind]];
      }),
    );
  });

  if (output !== 'labels') {
    test(`to readers of Arrow's schema the ${output} in Parquet are lists of fixed size`, async t => {
      await using model = await load();
      const path = join(await temporaryFolder(t), 'rows.parquet');
      await scoreToFile(model, source, path, options);
      const table = tableFromIPC(readParquet(await readFile(path)).intoIPCStream());
      const column = output === 'logits' ? 'logits' : 'embedding';
      const length = output === 'logits' ? model.architecture.numClasses : model.architecture.widths[4];
      t.is(
        String(table.schema.fields.find(({name}) => name === column)!.type),
        `FixedSizeList[${length}]<Float32>`,
      );
      const vectors = (await rowsOf(model, options)).map(
        row => withVectors(flat(row, options), length)[column] as number[],
      );
      t.deepEqual(
        [...table.getChild(column)!].map(vector => [...vector]),
        vectors,
      );
    });
  }

  test(`an Arrow file has the ${output} of the rows, vectors as lists of fixed size`, async t => {
    await using model = await load();
    const path = join(await temporaryFolder(t), 'rows.arrow');
    await scoreToFile(model, source, path, options);
    const table = tableFromIPC(await readFile(path));
    const rows = table.toArray().map(row => JSON.parse(JSON.stringify(row)) as object);
    const expected = (await rowsOf(model, options)).map(row => flat(row, options));
    t.deepEqual(rows, JSON.parse(JSON.stringify(expected)));
    const {numClasses, widths} = model.architecture;
    if (output === 'logits')
      t.is(String(table.schema.fields[1]!.type), `FixedSizeList[${numClasses}]<Float32>`);
    if (output === 'embeddings')
      t.is(String(table.schema.fields.at(-3)!.type), `FixedSizeList[${widths[4]}]<Float32>`);
  });

  test(`CSV and NDJSON have the ${output} of the rows`, async t => {
    await using model = await load();
    const folder = await temporaryFolder(t);
    const expected = await rowsOf(model, options);
    await scoreToFile(model, source, join(folder, 'rows.csv'), options);
    const records = parse(await readFile(join(folder, 'rows.csv')), {columns: true}) as Record<
      string,
      string
    >[];
    t.deepEqual(
      records,
      expected.map(row =>
        Object.fromEntries(
          Object.entries(flat(row, options)).map(([name, value]) => {
            if (value === null) return [name, ''];
            return [name, typeof value === 'object' ? JSON.stringify(value) : String(value)];
          }),
        ),
      ),
    );
    await scoreToFile(model, source, join(folder, 'rows.ndjson'), options);
    const lines = (await readFile(join(folder, 'rows.ndjson'), 'utf8')).trimEnd().split('\n');
    const plain = (value: unknown): unknown =>
      JSON.parse(
        JSON.stringify(value, (_, inner: unknown) => {
          if (inner instanceof Float32Array) return [...inner];
          return typeof inner === 'bigint' ? String(inner) : inner;
        }),
      );
    t.deepEqual(
      lines.map(line => JSON.parse(line) as unknown),
      expected.map(plain),
    );
  });
}

test("Arrow's schema of many columns is what Arrow reads of it", t => {
  const fields = Array.from({length: 100}, (_, i) => `${'ä'.repeat(i % 7)}${i}`);
  const columns = columnsOf({output: 'embeddings', fields, timing: true}, shape);
  const {schema} = RecordBatchReader.from(Buffer.from(arrowSchema(columns), 'base64')).open();
  t.deepEqual(
    schema.fields.map(({name, type, nullable}) => [name, String(type), nullable]),
    columns.map(({name, kind}) => [
      name,
      {text: 'Utf8', number: 'Float64', vector: 'FixedSizeList[128]<Float32>', predictions: ''}[kind],
      name !== 'id' && kind !== 'vector',
    ]),
  );
});

test('the journal keeps every bit of a vector', t => {
  const embedding = Float32Array.of(0.1, -0, 1e-45, Infinity, Number.NaN, 3.4e38);
  const row = fromJournalLine(toJournalLine({id: 'a\nb', embedding}));
  t.deepEqual(row, {id: 'a\nb', embedding});
  const odd = {id: 'a', fields: {embedding: 'AAAA', meta: {float32: 'AAAA'}}, label: 'b', score: 1, topK: []};
  const texts = {embedding: 'AAAA', meta: '{"float32":"AAAA"}'};
  t.deepEqual(fromJournalLine(toJournalLine(odd)), {...odd, fields: texts});
});

test('fields that JSON has no value for', t => {
  const fields = {
    time: new Date(0),
    bytes: Uint8Array.of(1, 171),
    buffers: [Buffer.of(1, 171)],
    big: 2n ** 60n,
    list: [1n],
    text: 'a',
  };
  const row = {id: 'a', fields, label: 'b', score: 1, topK: []};
  const plain = {
    time: '1970-01-01T00:00:00.000Z',
    bytes: '01ab',
    buffers: ['01ab'],
    big: String(2n ** 60n),
    list: ['1'],
    text: 'a',
  };
  t.deepEqual((JSON.parse(toJsonLine(row)) as {fields: object}).fields, plain);
  const cells = toCsvLine(row, columnsOf({fields: Object.keys(fields)}, shape));
  t.is(cells, `a,1970-01-01T00:00:00.000Z,01ab,"[""01ab""]",${2n ** 60n},"[""1""]",a,b,1,[],,\r\n`);
});

test('fields are the same texts in CSV and Parquet, also where JSON would have others', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const values = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    -0,
    0.1,
    'a\0\r\n"',
    new URL('http://x/y'),
    true,
    [Number.NaN],
    null,
  ];
  const records = values.map((a, i) => ({id: `${i}`, image: 'none.png', fields: {a}}));
  const [csv, parquet] = [join(folder, 'rows.csv'), join(folder, 'rows.parquet')];
  for (const path of [csv, parquet]) await scoreToFile(model, records, path, {fields: ['a']});
  const cells = (rows: unknown): string[] =>
    (rows as {'fields.a'?: string | null}[]).map(row => row['fields.a'] ?? '');
  const inCsv = cells(parse(await readFile(csv), {columns: true}));
  t.deepEqual(inCsv.slice(0, 5), ['NaN', 'Infinity', '0', '0.1', 'a\0\r\n"']);
  t.deepEqual(cells(await parquetReadObjects({file: await asyncBufferFromFile(parquet)})), inCsv);
});

test('a field with the name of what all objects have is none where a record lacks it', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const names = ['constructor', 'toString', '__proto__'];
  const own = JSON.parse('{"constructor": "Lotus", "toString": "yes", "__proto__": "a"}') as object;
  const records = [own, {}].map((fields, i) => ({id: `${i}`, image: photos[0]!, fields: {...fields}}));
  const expected = [{'fields.constructor': 'Lotus', 'fields.toString': 'yes', 'fields.__proto__': 'a'}, {}];
  for (const name of ['rows.csv', 'rows.parquet']) {
    const path = join(folder, name);
    await scoreToFile(model, records, path, {fields: names});
    const rows = name.endsWith('csv')
      ? (parse(await readFile(path), {columns: true}) as Record<string, unknown>[])
      : await parquetReadObjects({file: await asyncBufferFromFile(path)});
    for (const [i, row] of rows.entries()) {
      const cells = Object.entries(row).filter(
        ([key, value]) => key.startsWith('fields.') && (value ?? '') !== '',
      );
      t.deepEqual(Object.fromEntries(cells), expected[i]!);
    }
  }
  const scores = model.score([{...records[1]!}], {fields: names});
  for await (const _ of scores);
  t.deepEqual(scores.summary.missingFields, names);
});

test('a disk that is full ends the making of Parquet and Arrow at once, and in the same way', async t => {
  for (const write of [writeParquet, writeArrow]) {
    let made = 0;
    async function* groups(): AsyncGenerator<ScoreRow[]> {
      for (; made < 100; made++) {
        await new Promise(resolve => setTimeout(resolve, 1));
        yield Array.from({length: 10}, (_, i) => ({id: `${i}`, embedding: new Float32Array(128)}));
      }
    }
    const full = await open('/dev/full', 'w');
    await t.throwsAsync(write(full, columnsOf({output: 'embeddings'}, shape), groups()), {code: 'ENOSPC'});
    await full.close();
    t.true(made < 3, `${made} groups were made after it was full`);
  }
});

test('an empty source makes a file without rows, with its columns', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  for (const name of ['a.csv', 'a.ndjson', 'a.parquet', 'a.arrow']) {
    t.like(await scoreToFile(model, [], join(folder, name), {}), {ok: 0, complete: true});
  }
  t.is(await readFile(join(folder, 'a.csv'), 'utf8'), 'id,label,score,topK,error.code,error.message\r\n');
  t.is(await readFile(join(folder, 'a.ndjson'), 'utf8'), '');
  t.is(tableFromIPC(await readFile(join(folder, 'a.arrow'))).numRows, 0);
  const metadata = await parquetMetadataAsync(await asyncBufferFromFile(join(folder, 'a.parquet')));
  t.is(metadata.num_rows, 0n);
});

test('timing is two more columns', t => {
  const row = {
    id: 'a',
    label: 'b',
    score: 1,
    topK: [],
    timing: {prepareMilliseconds: 2, computeMilliseconds: 3},
  };
  t.is(toCsvLine(row, columnsOf({timing: true}, shape)), 'a,b,1,[],2,3,,\r\n');
});

test('long fields are held for few rows at a time, while they are scored and while Parquet is made', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.parquet');
  const length = 2 ** 20;
  const count = 40;
  let asked = 0;
  const unwritten: number[] = [];
  function* records(): Generator<ScoreInput> {
    for (; asked < count; asked++) yield {id: `${asked}`, image: 'none.png', fields: {a: 'x'.repeat(length)}};
  }
  const onProgress = ({failed}: {failed: number}): void => {
    unwritten.push(failed * length - statSync(`${path}.partial`).size);
  };
  await scoreToFile(model, records(), path, {fields: ['a'], batchSize: 1, onProgress});
  t.true(Math.max(...unwritten) < 2 * length, `${Math.max(...unwritten)}`);
  const file = await asyncBufferFromFile(path);
  const {row_groups: groups} = await parquetMetadataAsync(file);
  t.deepEqual(
    groups.map(({num_rows}) => Number(num_rows)),
    [16, 16, 8],
  );
  const rows = await parquetReadObjects({file});
  t.deepEqual(
    rows.map(({id}) => id),
    Array.from({length: count}, (_, i) => `${i}`),
  );
});
