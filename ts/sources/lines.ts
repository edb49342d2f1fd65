import {isUtf8} from 'node:buffer';
import {RepVGGError} from '../errors.ts';
import {fromJson} from '../plain_text.ts';
import {readStream} from './read_stream.ts';
import type {SourceFile, SourceRecord, UnreadableRecord} from './source.ts';
import {imageColumnOf, locate, toRecord} from './table.ts';

/** Longer lines are no paths and no rows, but a file of another kind. */
const maxLineBytes = 2 ** 24;

interface Line {
  text: string;
  isUtf8: boolean;
  /** From 1 on. */
  number: number;
}

/** A path or URL in each line. Empty lines are skipped. */
export async function* readList(file: SourceFile): AsyncGenerator<SourceRecord | UnreadableRecord> {
  for await (const line of readLines(file)) {
    const {text, isUtf8, number} = line;
    if (text.trim() === '') continue;
    const place = `${file.path}:${number}`;
    const id = isUtf8 ? text : place; // Others could read the same.
    yield attempt(id, () => ({id, image: locate(textOf(line, place), file)}));
  }
}

/** A JSON object in each line. Empty lines are skipped. */
export async function* readNdjson(file: SourceFile): AsyncGenerator<SourceRecord | UnreadableRecord> {
  for await (const line of readLines(file)) {
    if (line.text.trim() === '') continue;
    const place = `${file.path}:${line.number}`;
    yield attempt(place, () => {
      const row = parseObject(textOf(line, place), place);
      // Looked for in each line, since not all need have the same keys.
      return toRecord(row, imageColumnOf(Object.keys(row), {...file, path: place}), place, file);
    });
  }
}

function textOf({text, isUtf8}: Line, place: string): string {
  if (isUtf8) return text;
  throw new RepVGGError('ERR_SOURCE', `Cannot read ${place}: it is not UTF-8.`);
}

function attempt(id: string, make: () => SourceRecord | UnreadableRecord): SourceRecord | UnreadableRecord {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RepVGGError)) throw error;
    return {id, error};
  }
}

function parseObject(text: string, place: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = fromJson(text);
  } catch (cause) {
    throw new RepVGGError('ERR_SOURCE', `Cannot read ${place}: ${(cause as Error).message}.`, {cause});
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new RepVGGError('ERR_SOURCE', `Cannot read ${place}: expected a JSON object.`);
}

/** Lines end with \n or \r\n, the last one also with the file; a byte order mark is dropped. */
async function* readLines(file: SourceFile): AsyncGenerator<Line> {
  let [number, rest] = [0, [] as Uint8Array[]];
  let restBytes = 0;
  const finish = (): Line => {
    const bytes = Buffer.concat(rest);
    [rest, restBytes] = [[], 0];
    const text = bytes.toString('utf8').replace(/\r$/, '');
    return {text: number++ === 0 ? text.replace(/^\uFEFF/, '') : text, isUtf8: isUtf8(bytes), number};
  };
  for await (const chunk of readStream(file)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      rest.push(chunk.subarray(start, end));
      start = end + 1;
      yield finish();
    }
    rest.push(chunk.subarray(start));
    restBytes += chunk.length - start;
    if (restBytes > maxLineBytes) {
      const problem = `line ${number + 1} has more than ${maxLineBytes / 2 ** 20} MiB`;
      throw new RepVGGError('ERR_SOURCE', `Cannot read source ${file.path}: ${problem}.`);
    }
  }
  if (restBytes > 0) yield finish();
}
