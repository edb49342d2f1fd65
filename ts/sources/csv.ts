import {CsvError, parse} from 'csv-parse';
import {RepVGGError} from '../errors.ts';
import {clause} from '../support/plain_text.ts';
import type {SourceFile} from './options.ts';
import {peek, readStream} from './read_stream.ts';
import type {Records} from './record.ts';
import {checkColumns, imageColumnOf, namedColumns, rowToRecord} from './table.ts';
import {through} from './through.ts';

/** A longer record is taken for a quote that is never closed. */
const maxRecordBytes = 2 ** 24;

interface ParsedRow {
  record: string[];
  raw: string;
  info: {lines: number};
}

const misquoted =
  'a cell begins with a quote that is not closed; the lines up to this one were read as part of it';

/** A header row with the column names, then one row per image (RFC 4180). */
export async function* readCsv(file: SourceFile, delimiter: ',' | '\t'): Records {
  const parser = parse({
    delimiter,
    bom: true,
    info: true,
    recordDelimiter: ['\r\n', '\n', '\r'], // Else that of the header is taken for that of all rows.
    relaxColumnCount: true,
    skipEmptyLines: true,
    relaxQuotes: true, // A quote inside an unquoted cell is text, as in 6".
    raw: true,
    maxRecordSize: maxRecordBytes,
  });
  let columns: string[] | undefined;
  let imageColumn = '';
  let named: readonly string[] = [];
  try {
    for await (const {record, raw, info} of through<ParsedRow>(await readAsUtf8(file), parser)) {
      if (!columns) {
        columns = record;
        imageColumn = imageColumnOf(columns, file);
        checkColumns(columns, file);
        named = namedColumns(imageColumn, file);
        checkUnique(columns, named, file);
        continue;
      }
      const place = `${file.path}:${info.lines}`;
      const problem = isSwallowing(raw, delimiter) ? misquoted : problemOf(record, columns, named);
      if (problem !== undefined) {
        yield {id: place, error: new RepVGGError('ERR_SOURCE', `Cannot read ${place}: ${problem}.`)};
      } else {
        const row = Object.fromEntries(columns.map((name, i) => [name, record[i]]));
        yield rowToRecord(row, imageColumn, place, file);
      }
    }
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    const message = clause(cause.message);
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${file.path}: ${message}.`, {cause});
  }
}

/** UTF-16, which spreadsheets export, is converted: the parser takes it byte by byte, and its raw rows lack some. */
async function readAsUtf8(file: SourceFile): Promise<AsyncIterable<Uint8Array>> {
  const {head, stream} = await peek(readStream(file), 2);
  const mark = head.toString('hex', 0, 2);
  return mark === 'fffe' ? toUtf8(stream, 'utf-16le') : mark === 'feff' ? toUtf8(stream, 'utf-16be') : stream;
}

async function* toUtf8(stream: AsyncIterable<Uint8Array>, encoding: string): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder(encoding);
  for await (const chunk of stream) yield Buffer.from(decoder.decode(chunk, {stream: true}));
  yield Buffer.from(decoder.decode());
}

/**
 * Whether a row spans lines without being quoted as RFC 4180 requires: then a cell that begins with a quote has probably swallowed the rows
 * up to the next quote.
 */
function isSwallowing(raw: string, delimiter: string): boolean {
  // Not by regular expressions for the whole row: millions of quotes would need too much stack, and of line ends hours.
  let end = raw.length;
  while (end > 0 && /[\r\n]/.test(raw[end - 1]!)) end--;
  const text = raw.slice(0, end).replace(/^[\r\n]+/, '');
  if (!/[\r\n]/.test(text)) return false;
  const afterUnquoted = new RegExp(`[\r\n${delimiter}]|$`, 'g');
  for (let at = 0; ; at++) {
    if (text[at] === '"') {
      do {
        at = text.indexOf('"', at + 1) + 1;
        if (at === 0) return true;
      } while (text[at] === '"'); // Two are a quote inside.
    } else {
      afterUnquoted.lastIndex = at;
      at = afterUnquoted.exec(text)!.index;
    }
    if (at === text.length) return false;
    if (text[at] !== delimiter) return true;
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
