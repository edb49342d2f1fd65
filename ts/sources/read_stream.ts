import {createReadStream} from 'node:fs';
import {fileError} from '../errors.ts';
import type {SourceFile} from './options.ts';

/** The bytes of a file, read on demand. The file is closed when the caller stops. */
export async function* readStream({path, stream, signal}: SourceFile): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream ?? createReadStream(path, {highWaterMark: 2 ** 18})) {
      signal?.throwIfAborted();
      yield chunk as Uint8Array;
    }
  } catch (cause) {
    signal?.throwIfAborted();
    throw fileError(`read source ${path}`, cause);
  }
}

/**
 * The first `count` bytes of a stream, or fewer once `enough` accepts them, and a stream that starts with these bytes again. The caller
 * must read that stream, or call its return(), so that the file is closed.
 */
export async function peek(
  input: AsyncIterable<Uint8Array>,
  count: number,
  enough: (head: Buffer) => boolean = () => false,
): Promise<{head: Buffer; stream: AsyncGenerator<Uint8Array>}> {
  const iterator = input[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < count && !enough(head)) {
    const {value, done} = await iterator.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  return {head, stream: continueWith(head, iterator)};
}

async function* continueWith(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield head;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  } finally {
    await iterator.return?.();
  }
}
