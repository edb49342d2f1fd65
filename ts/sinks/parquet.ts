import type {FileHandle} from 'node:fs/promises';
import type {SchemaElement} from 'hyparquet';
import {ByteWriter, ParquetWriter} from 'hyparquet-writer';
import type {Prediction} from '../scoring/predictions.ts';
import type {ScoreRow} from '../scoring/score_row.ts';
import {toText} from '../support/plain_text.ts';
import {append} from '../support/replace_file.ts';
import {arrowSchema} from './arrow_schema.ts';
import type {Column} from './columns.ts';

/**
 * Writes rows as Parquet, one row group per group of rows. Vectors are lists, which readers of the Arrow schema restore as fixed-size
 * lists. The vectors of failed rows are NaN, because pyarrow before 26 cannot read a null among fixed-size lists.
 */
export async function writeParquet(
  file: FileHandle,
  columns: readonly Column[],
  groups: AsyncIterable<readonly ScoreRow[]>,
): Promise<void> {
  const bytes = new ByteWriter();
  const flush = async (): Promise<void> => {
    await append(file, bytes.getBytes());
    bytes.index = 0;
  };
  // The library calls flush() after each row group and finish() at the end.
  const writer = new ParquetWriter({
    writer: Object.assign(bytes, {flush, finish: flush}),
    schema: [{name: 'root', num_children: columns.length}, ...columns.flatMap(schemaOf)],
    createdBy: 'repvgg',
    ...(columns.some(({kind}) => kind === 'vector') && {
      kvMetadata: [{key: 'ARROW:schema', value: arrowSchema(columns)}],
    }),
  });
  for await (const rows of groups) {
    await writer.write({
      columnData: columns.map(column => {
        const none = column.kind === 'vector' ? new Array(column.length).fill(Number.NaN) : undefined;
        return {name: column.name, data: rows.map(row => toParquet(column.kind, column.cellOf(row)) ?? none)};
      }),
      rowGroupSize: rows.length,
    });
  }
  await writer.finish();
}

function schemaOf({name, kind}: Column): SchemaElement[] {
  const text = {type: 'BYTE_ARRAY', converted_type: 'UTF8'} as const;
  const list = (repetition_type: 'OPTIONAL' | 'REQUIRED', element: SchemaElement[]): SchemaElement[] => [
    {name, repetition_type, num_children: 1, converted_type: 'LIST'},
    {name: 'list', repetition_type: 'REPEATED', num_children: 1},
    ...element,
  ];
  switch (kind) {
    case 'text':
      return [{name, repetition_type: name === 'id' ? 'REQUIRED' : 'OPTIONAL', ...text}];
    case 'number':
      return [{name, repetition_type: 'OPTIONAL', type: 'DOUBLE'}];
    case 'vector':
      return list('REQUIRED', [{name: 'element', repetition_type: 'REQUIRED', type: 'FLOAT'}]);
    case 'predictions':
      return list('OPTIONAL', [
        {name: 'element', repetition_type: 'REQUIRED', num_children: 3},
        {name: 'index', repetition_type: 'REQUIRED', type: 'INT32'},
        {name: 'label', repetition_type: 'REQUIRED', ...text},
        {name: 'score', repetition_type: 'OPTIONAL', type: 'DOUBLE'},
      ]);
  }
}

function toParquet(kind: Column['kind'], value: unknown): unknown {
  if (value instanceof Float32Array) return [...value];
  if (kind === 'predictions') return (value as Prediction[] | null) ?? undefined;
  return (kind === 'text' ? toText(value) : value) ?? undefined;
}
