import {Readable} from 'node:stream';
import {type CsvError, parse} from 'csv-parse';
import {RepVGGError} from '../errors.ts';
import type {SourceFile} from './options.ts';
import {readStream} from './read_stream.ts';
import type {Records} from './record.ts';
import {checkColumns, imageColumnOf, namedColumns, toRecord} from './table.ts';

/** A longer record is taken for a quote that is never closed. */
const maxRecordBytes = 2 ** 24;

/** A header row with the column names, then one row per image (RFC 4180). */
export async function* readCsv(file: SourceFile, delimiter: ',' | '\t'): Records {
  const input = Readable.from(readStream(file));
  const parser = parse({
    delimiter,
    bom: true,
    info: true,
    relaxColumnCount: true,
    skipEmptyLines: true,
    maxRecordSize: maxRecordBytes,
  });
  input.once('error', error => parser.destroy(error));
  input.pipe(parser);
  let columns: string[] | undefined;
  let imageColumn = '';
  let named: readonly string[] = [];
  try {
    for await (const {record, info} of parser as AsyncIterable<{record: string[]; info: {lines: number}}>) {
      if (!columns) {
        columns = record;
        imageColumn = imageColumnOf(columns, file);
        checkColumns(columns, file);
        named = namedColumns(imageColumn, file);
        checkUnique(columns, named, file);
        continue;
      }
      const place = `${file.path}:${info.lines}`;
      const problem = problemOf(record, columns, named);
      if (problem !== undefined) {
        yield {id: place, error: new RepVGGError('ERR_SOURCE', `Cannot read ${place}: ${problem}.`)};
      } else {
        const row = Object.fromEntries(columns.map((name, i) => [name, record[i]]));
        yield toRecord(row, imageColumn, place, file);
      }
    }
  } catch (cause) {
    if (!(cause as CsvError).code?.startsWith('CSV_')) throw cause;
    const message = (cause as Error).message.replace(/\.$/, '');
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${file.path}: ${message}.`, {cause});
  } finally {
    input.destroy();
    parser.destroy();
  }
}

function checkUnique(columns: readonly string[], named: readonly string[], {path}: SourceFile): void {
  const twice = named.find(name => columns.indexOf(name) < columns.lastIndexOf(name));
  if (twice === undefined) return;
  throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: two columns are named ${twice}.`);
}

/** Why a row cannot be used; undefined if it can. */
function problemOf(
  record: readonly string[],
  columns: readonly string[],
  named: readonly string[],
): string | undefined {
  if (record.length !== columns.length) {
    return `expected ${columns.length} columns but received ${record.length}`;
  }
  // The parser replaces invalid UTF-8 by U+FFFD.
  const damaged = columns.find((name, i) => named.includes(name) && record[i]!.includes('\ufffd'));
  return damaged === undefined ? undefined : `column ${damaged} is not UTF-8`;
}
