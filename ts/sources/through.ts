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
  // Not a promise of the end that every write races with: it would hold on to what waits for it, in a long stream megabytes.
  let proceed = (): void => {};
  const untilClosedOr = (start: (done: () => void) => void): Promise<void> =>
    new Promise(resolve => {
      proceed = resolve;
      if (transform.closed) resolve();
      else start(resolve);
    });
  transform.once('close', () => proceed());
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
        await untilClosedOr(done => transform.write(piece, () => done()));
        yield* take();
      }
    }
    await untilClosedOr(() => transform.end());
    yield* take();
  } finally {
    transform.destroy();
  }
}
