import type {FileHandle} from 'node:fs/promises';
import {RepVGGError} from '../errors.ts';
import type {ScoreRow} from '../scoring/score_row.ts';
import {toText} from '../support/plain_text.ts';
import {append} from '../support/replace_file.ts';
import type {Column} from './columns.ts';

type Arrow = typeof import('apache-arrow');

/** @throws {RepVGGError} ERR_DEPENDENCY_MISSING */
export async function loadArrow(): Promise<Arrow> {
  try {
    return await import('apache-arrow');
  } catch (cause) {
    const message =
      'Cannot write Arrow files without the package apache-arrow. Run "npm install apache-arrow".';
    throw new RepVGGError('ERR_DEPENDENCY_MISSING', message, {cause});
  }
}

/** Writes rows as an Arrow IPC file (Feather version 2) with one record batch per group of rows. */
export async function writeArrow(
  file: FileHandle,
  columns: readonly Column[],
  groups: AsyncIterable<readonly ScoreRow[]>,
): Promise<void> {
  const arrow = await loadArrow();
  const schema = new arrow.Schema(
    columns.map(column => new arrow.Field(column.name, typeOf(arrow, column), column.name !== 'id')),
  );
  let chunks: Uint8Array[] = [];
  // Replaces Arrow's queue, which has no back-pressure and whose write errors would be unhandled rejections.
  class Chunks extends arrow.AsyncByteQueue {
    override write(chunk: Uint8Array): void {
      chunks.push(chunk);
    }
  }
  const flush = async (): Promise<void> => {
    for (const chunk of chunks) await append(file, chunk);
    chunks = [];
  };
  const writer = new arrow.RecordBatchFileWriter();
  writer.reset(new Chunks(), schema);
  for await (const rows of groups) {
    const data = columns.map((column, i) => {
      const builder = arrow.makeBuilder({type: schema.fields[i]!.type, nullValues: [null]});
      for (const row of rows) builder.append(toArrow(column, row));
      return builder.finish().flush();
    });
    const type = new arrow.Struct(schema.fields);
    writer.write(
      new arrow.RecordBatch(
        schema,
        arrow.makeData({type, length: rows.length, nullCount: 0, children: data}),
      ),
    );
    await flush();
  }
  writer.finish();
  await flush();
}

function typeOf(arrow: Arrow, column: Column) {
  switch (column.kind) {
    case 'text':
      return new arrow.Utf8();
    case 'number':
      return new arrow.Float64();
    case 'vector':
      return new arrow.FixedSizeList(column.length, new arrow.Field('item', new arrow.Float32(), false));
    case 'predictions':
      return new arrow.List(
        new arrow.Field(
          'item',
          new arrow.Struct([
            new arrow.Field('index', new arrow.Int32(), false),
            new arrow.Field('label', new arrow.Utf8(), false),
            new arrow.Field('score', new arrow.Float64(), true),
          ]),
          false,
        ),
      );
  }
}

function toArrow({kind, cellOf}: Column, row: ScoreRow): unknown {
  const value = cellOf(row);
  return kind === 'text' ? toText(value) : value;
}
