import {PassThrough, Transform} from 'node:stream';
import {setTimeout as sleep} from 'node:timers/promises';
import {setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';
import test from 'ava';
import {through} from '../../ts/sources/through.ts';

async function* bytes(...values: number[]): AsyncGenerator<Uint8Array> {
  for (const value of values) yield Uint8Array.of(value);
}

/** Makes as many numbers of a byte as it says, and fails after those of the one that is 100. */
function counting(highWaterMark: number): Transform {
  return new Transform({
    objectMode: true,
    highWaterMark,
    transform([count]: Uint8Array, _, done) {
      for (let i = 0; i < count!; i++) this.push(i);
      done(count === 100 ? new Error('broken') : null);
    },
    flush(done) {
      for (let i = 0; i < 5; i++) this.push('end');
      done();
    },
  });
}

async function read(stream: AsyncIterable<unknown>): Promise<{made: unknown[]; error: unknown}> {
  const made: unknown[] = [];
  try {
    for await (const one of stream) {
      made.push(one);
      if (made.length % 50 === 0) await sleep(1);
    }
  } catch (error) {
    return {made, error};
  }
  return {made, error: undefined};
}

test('everything that a transform makes comes before its error, or before the end', async t => {
  for (const mark of [1, 16, 1000]) {
    const whole = await read(through(bytes(1, 0, 99, 30), counting(mark)));
    t.deepEqual([whole.made.length, whole.error], [135, undefined]);
    t.deepEqual(whole.made.slice(-6), [29, ...Array(5).fill('end')]);
    const broken = await read(through(bytes(1, 100, 3), counting(mark)));
    t.deepEqual([broken.made.length, String(broken.error)], [101, 'Error: broken']);
  }
});

test('an error of the stream comes after what was made before it, and a reader that stops ends both', async t => {
  let ended = false;
  async function* failing(): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes(20, 30);
      throw new Error('unreadable');
    } finally {
      ended = true;
    }
  }
  const {made, error} = await read(through(failing(), counting(16)));
  t.deepEqual([made.length, String(error), ended], [50, 'Error: unreadable', true]);
  ended = false;
  const transform = counting(16);
  for await (const _ of through(failing(), transform)) break;
  t.true(ended && transform.destroyed);
});

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

test('a long stream takes no more memory than a short one', async t => {
  const pieces = 50_000;
  async function* stream(): AsyncGenerator<Uint8Array> {
    const one = Buffer.alloc(1);
    for (let i = 0; i < pieces; i++) yield one;
  }
  let bytes = 0;
  let before = 0;
  for await (const made of through<Buffer>(stream(), new PassThrough())) {
    bytes += made.length;
    if (bytes === 1000 || bytes === pieces) {
      collect();
      const {heapUsed} = process.memoryUsage();
      if (bytes === 1000) before = heapUsed;
      else t.true(heapUsed - before < 1e6, `${heapUsed - before} bytes more`);
    }
  }
  t.is(bytes, pieces);
});
