import {extname} from 'node:path';
import {invalidArgument} from '../errors.ts';

/** The formats of a file of rows by what its name ends with. */
const formats = {
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.csv': 'csv',
  '.parquet': 'parquet',
  '.arrow': 'arrow',
  '.feather': 'arrow',
} as const;

export type SinkFormat = (typeof formats)[keyof typeof formats];

/** @throws {RepVGGError} ERR_INVALID_ARGUMENT */
export function sinkFormat(path: string): SinkFormat {
  const extension = typeof path === 'string' ? extname(path).toLowerCase() : '';
  if (Object.hasOwn(formats, extension)) return formats[extension as keyof typeof formats];
  throw invalidArgument('the output', `a file that ends in ${Object.keys(formats).join(', ')}`, path);
}
