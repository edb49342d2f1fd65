import type {TarEntry} from 'modern-tar';
import type {SourceOptions} from '../../ts/sources/options.ts';
import {openSource} from '../../ts/sources/source.ts';

export interface Outcome {
  id: string;
  image?: unknown;
  label?: string;
  fields?: object;
  code?: string;
  message?: string;
}

async function* outcomes(path: string, options?: SourceOptions): AsyncGenerator<Outcome> {
  for await (const record of openSource(path, options)) {
    if (!('error' in record)) yield record as Outcome;
    else yield {id: record.id, code: record.error.code, message: record.error.message};
  }
}

/** All records of a source; those that cannot be read by the code and message of their error. */
export async function all(path: string, options?: SourceOptions): Promise<Outcome[]> {
  const found: Outcome[] = [];
  for await (const outcome of outcomes(path, options)) found.push(outcome);
  return found;
}

/** The records before the error that ends a source, and the error. */
export async function untilError(path: string): Promise<{records: Outcome[]; ids: string[]; error: unknown}> {
  const records: Outcome[] = [];
  try {
    for await (const outcome of outcomes(path)) records.push(outcome);
  } catch (error) {
    return {records, ids: records.map(({id}) => id), error};
  }
  throw new Error('expected an error');
}

export const bytesOf = (record: Outcome | undefined): Buffer => Buffer.from(record?.image as Uint8Array);

/** A file of a tar, for packTar. */
export const member = (name: string, body: string | Uint8Array): TarEntry => ({
  header: {name, size: Buffer.byteLength(body)},
  body: new Uint8Array(Buffer.from(body)),
});
