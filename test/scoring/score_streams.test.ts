import {PassThrough, Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import test from 'ava';
import type {ScoreInput} from '../../ts/scoring/score.ts';
import type {ScoreRow} from '../../ts/scoring/score_row.ts';
import {load, raw, records} from './score_records.ts';

test('scoreStream() in a pipeline(): order, counts, and an error on either side ends all of it', async t => {
  await using model = await load({batchSize: 4});
  const stream = model.scoreStream({topK: 1});
  const ids: string[] = [];
  await pipeline(Readable.from(records(50)), stream, async rows => {
    for await (const row of rows as AsyncIterable<ScoreRow>) ids.push(row.id);
  });
  t.deepEqual(
    ids,
    Array.from({length: 50}, (_, i) => `image ${i}`),
  );
  t.like(stream.summary, {ok: 50, failed: 0});

  let left = false;
  async function* endless(): AsyncGenerator<ScoreInput> {
    try {
      yield* records(1e9);
    } finally {
      left = true;
    }
  }
  await t.throwsAsync(
    pipeline(Readable.from(endless()), model.scoreStream(), async rows => {
      for await (const _ of rows) throw new Error('the sink broke');
    }),
    {message: 'the sink broke'},
  );
  t.true(left);
  const broken = new Error('the source broke');
  await t.throwsAsync(
    pipeline(
      Readable.from(
        (async function* () {
          yield raw(1);
          throw broken;
        })(),
      ),
      model.scoreStream(),
      new PassThrough({objectMode: true}).resume(),
    ),
    {is: broken},
  );
  await model.dispose(); // Nothing is left that it would wait for.
});

test('scoreTransformStream() in pipeThrough(); cancelling its rows ends its source', async t => {
  await using model = await load({batchSize: 4});
  let left = false;
  async function* source(count: number): AsyncGenerator<ScoreInput> {
    try {
      yield* records(count);
    } finally {
      left = true;
    }
  }
  const transform = model.scoreTransformStream();
  const ids: string[] = [];
  for await (const row of ReadableStream.from(source(20)).pipeThrough(transform)) ids.push(row.id);
  t.deepEqual(
    ids,
    Array.from({length: 20}, (_, i) => `image ${i}`),
  );
  t.like(transform.summary, {ok: 20});
  left = false;
  for await (const _ of ReadableStream.from(source(1e9)).pipeThrough(model.scoreTransformStream())) break;
  for (let i = 0; i < 100 && !left; i++) await new Promise(resolve => setTimeout(resolve, 10));
  t.true(left);

  // Before the first row, and while it waits for a source that is silent.
  for (const isAsked of [false, true]) {
    const {writable, readable} = model.scoreTransformStream();
    const reader = readable.getReader();
    const row = isAsked ? reader.read() : undefined;
    await reader.cancel();
    t.true((await row)?.done ?? true);
    await t.throwsAsync(writable.getWriter().write(raw(1)), {any: true});
  }
});

test('an abort ends both sides of scoreTransformStream(), while nothing is written', async t => {
  await using model = await load({batchSize: 4});
  const controller = new AbortController();
  let cancelled: unknown;
  const silent = new ReadableStream<ScoreInput>({
    cancel: reason => {
      cancelled = reason;
    },
  });
  const rows = silent.pipeThrough(model.scoreTransformStream({signal: controller.signal}));
  const reason = new Error('enough');
  setTimeout(() => controller.abort(reason), 20);
  await t.throwsAsync(rows.getReader().read(), {is: reason});
  for (let i = 0; i < 100 && !cancelled; i++) await new Promise(resolve => setTimeout(resolve, 10));
  t.is(cancelled, reason);
});
