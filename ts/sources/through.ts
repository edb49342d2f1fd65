import type {Transform} from 'node:stream';

/** Bytes that a transform is given at a time, so that what it makes of them is not much. */
export const pieceBytes: number = 2 ** 12;

/**
 * What a transform makes of a stream. If it fails, what it has made before is there first, and then the error: its own iterator, as
 * well as a web stream, would drop what was not read yet.
 */
export async function* through<Made>(
  stream: AsyncIterable<Uint8Array>,
  transform: Transform,
): AsyncGenerator<Made> {
  let made: Made[] = [];
  let failure: Error | undefined;
  const closed = new Promise<void>(resolve => transform.once('close', resolve));
  transform.on('data', one => made.push(one));
  transform.on('error', error => {
    failure = error;
  });
  function* take(): Generator<Made> {
    const taken = made;
    made = [];
    yield* taken;
    if (failure) throw failure;
  }
  try {
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const piece = chunk.subarray(at, at + pieceBytes);
        const written = new Promise<void>(resolve => transform.write(piece, () => resolve()));
        await Promise.race([written, closed]);
        yield* take();
      }
    }
    transform.end();
    await closed;
    yield* take();
  } finally {
    transform.destroy();
  }
}
