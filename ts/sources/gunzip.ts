import {createGunzip} from 'node:zlib';
import {pieceBytes, through} from './through.ts';

/** The checksum and the length at the end of gzip (RFC 1952). */
const trailerBytes = 8;

/**
 * Decompresses gzip. Where it is damaged or cut short, what comes before that is there first, and then the error; but what zlib has
 * made of the piece in which it finds damage is lost.
 */
export function gunzip(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  return through(trailerApart(stream), createGunzip({chunkSize: pieceBytes}));
}

/** The trailer comes alone, so that nothing is lost where only the checksum is wrong. */
async function* trailerApart(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let last = Buffer.alloc(0);
  for await (const chunk of stream) {
    const bytes = Buffer.concat([last, chunk]);
    const end = Math.max(0, bytes.length - trailerBytes);
    yield bytes.subarray(0, end);
    last = bytes.subarray(end);
  }
  yield last;
}

/** By the magic number. */
export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}
