import type {FileHandle} from 'node:fs/promises';
import {extname} from 'node:path';
import {invalidArgument} from '../errors.ts';
import type {ScoreRow} from '../scoring/score_row.ts';
import {loadArrow, writeArrow} from './arrow.ts';
import type {Column} from './columns.ts';
import {csvHeader, toCsvLine, toJournalLine, toJsonLine} from './lines.ts';
import {writeParquet} from './parquet.ts';

/** How rows become a file: as lines of a journal, which is the file itself or is converted to it at the end. */
export interface SinkFormat {
  /** The first line of the journal. */
  header?(columns: readonly Column[]): string;
  toLine(row: ScoreRow, columns: readonly Column[]): string;
  /** Writes the file from the rows of the journal. Without it, the journal is the file. */
  write?(
    file: FileHandle,
    columns: readonly Column[],
    groups: AsyncIterable<readonly ScoreRow[]>,
  ): Promise<void>;
  /** Fails early if `write` would fail at once. */
  check?(): Promise<unknown>;
}

const ndjson: SinkFormat = {toLine: toJsonLine};
const csv: SinkFormat = {header: csvHeader, toLine: toCsvLine};
const parquet: SinkFormat = {toLine: toJournalLine, write: writeParquet};
const arrow: SinkFormat = {toLine: toJournalLine, write: writeArrow, check: loadArrow};

/** By extension. */
const formats: Readonly<Record<string, SinkFormat>> = {
  '.ndjson': ndjson,
  '.jsonl': ndjson,
  '.csv': csv,
  '.parquet': parquet,
  '.arrow': arrow,
  '.feather': arrow,
};

/** @throws {RepVGGError} ERR_INVALID_ARGUMENT */
export function sinkFormat(path: string): SinkFormat {
  const extension = typeof path === 'string' ? extname(path).toLowerCase() : '';
  if (Object.hasOwn(formats, extension)) return formats[extension]!;
  throw invalidArgument('the output', `a file that ends in ${Object.keys(formats).join(', ')}`, path);
}
