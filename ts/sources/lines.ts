import {isUtf8} from 'node:buffer';
import {RepVGGError} from '../errors.ts';
import {fromJson} from '../support/plain_text.ts';
import type {SourceFile} from './options.ts';
import {readStream} from './read_stream.ts';
import type {Records, SourceRecord, UnreadableRecord} from './record.ts';
import {checkFields, imageColumnOf, namedImage, rowToRecord} from './table.ts';

/** A longer line becomes an error row instead of being buffered. */
const maxLineBytes = 2 ** 24;

interface Line {
  /** Truncated if the line is too long. */
  text: string;
  /** Why the line cannot be used, if so. */
  problem: string | undefined;
  /** Counted from 1. */
  number: number;
}

/** One path or URL per line. Blank lines are skipped. */
export async function* readList(file: SourceFile): Records {
  checkFields(file, 'a list', []);
  for await (const line of readLines(file)) {
    const {text, problem, number} = line;
    if (text.trim() === '') continue;
    const place = `${file.path}:${number}`;
    const id = problem === undefined ? text : place; // Damaged text may not be unique.
    yield attempt(id, () => {
      const {image, name = place} = namedImage(textOf(line, place), file);
      return {id: name, image};
    });
  }
}

/** One JSON object per line. Blank lines are skipped. */
export async function* readNdjson(file: SourceFile): Records {
  for await (const line of readLines(file)) {
    if (line.text.trim() === '') continue;
    const place = `${file.path}:${line.number}`;
    yield attempt(place, () => {
      const row = parseObject(textOf(line, place), place);
      // Per line, because lines may have different keys.
      return rowToRecord(row, imageColumnOf(Object.keys(row), {...file, path: place}), place, file);
    });
  }
}

function textOf({text, problem}: Line, place: string): string {
  if (problem === undefined) return text;
  throw new RepVGGError('ERR_SOURCE', `Cannot read ${place}: ${problem}.`);
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

/** Splits at \n or \r\n; the last line needs neither. A byte order mark is removed. */
async function* readLines(file: SourceFile): AsyncGenerator<Line> {
  let [number, rest] = [0, [] as Uint8Array[]];
  let restBytes = 0;
  const hold = (bytes: Uint8Array): void => {
    if (restBytes <= maxLineBytes) rest.push(bytes);
    restBytes += bytes.length;
  };
  const finish = (): Line => {
    const bytes = Buffer.concat(rest);
    const isTooLong = restBytes > maxLineBytes;
    [rest, restBytes] = [[], 0];
    const text = bytes.toString('utf8', 0, maxLineBytes).replace(/\r$/, '');
    const problem = isTooLong
      ? `the line is longer than ${maxLineBytes / 2 ** 20} MiB`
      : isUtf8(bytes)
        ? undefined
        : 'the line is not UTF-8';
    return {text: number++ === 0 ? text.replace(/^\uFEFF/, '') : text, problem, number};
  };
  for await (const chunk of readStream(file)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      hold(chunk.subarray(start, end));
      start = end + 1;
      yield finish();
    }
    hold(chunk.subarray(start));
  }
  if (restBytes > 0) yield finish();
}
