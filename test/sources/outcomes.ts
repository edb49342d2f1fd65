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

/** All records of a source; those that cannot be read by the code and message of their error. */
export async function all(path: string, options?: SourceOptions): Promise<Outcome[]> {
  const found: Outcome[] = [];
  for await (const record of openSource(path, options)) {
    if (!('error' in record)) found.push(record as Outcome);
    else found.push({id: record.id, code: record.error.code, message: record.error.message});
  }
  return found;
}

/** The records before the error that ends a source, and the error. */
export async function untilError(path: string): Promise<{ids: string[]; error: unknown}> {
  const ids: string[] = [];
  try {
    for await (const {id} of openSource(path)) ids.push(id);
  } catch (error) {
    return {ids, error};
  }
  throw new Error('expected an error');
}

export const bytesOf = (record: Outcome | undefined): Buffer => Buffer.from(record?.image as Uint8Array);

/** A file of a tar, for packTar. */
export const member = (name: string, body: string | Uint8Array): TarEntry => ({
  header: {name, size: Buffer.byteLength(body)},
  body: new Uint8Array(Buffer.from(body)),
});
