import {Readable} from 'node:stream';
import {type CsvError, parse} from 'csv-parse';
import {RepVGGError} from '../errors.ts';
import {readStream} from './read_stream.ts';
import type {SourceFile, SourceRecord, UnreadableRecord} from './source.ts';
import {checkColumns, imageColumnOf, toRecord} from './table.ts';

/** A row has to fit; more is a quote that nobody closed. */
const maxRecordBytes = 2 ** 24;

/** A row with the names of the columns, and then a row an image (RFC 4180). */
export async function* readCsv(
  file: SourceFile,
  delimiter: ',' | '\t',
): AsyncGenerator<SourceRecord | UnreadableRecord> {
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
  try {
    for await (const {record, info} of parser as AsyncIterable<{record: string[]; info: {lines: number}}>) {
      if (!columns) {
        columns = record;
        imageColumn = imageColumnOf(columns, file);
        checkColumns(columns, file);
        continue;
      }
      const place = `${file.path}:${info.lines}`;
      if (record.length !== columns.length) {
        const problem = `expected ${columns.length} columns but received ${record.length}`;
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
