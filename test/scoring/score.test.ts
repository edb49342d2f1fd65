import {getEventListeners} from 'node:events';
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {PassThrough, Readable} from 'node:stream';
import test from 'ava';
import {digits} from '../../ts/digits.ts';
import type {ScoreInput, ScoreOptions} from '../../ts/scoring/score.ts';
import type {FailedRow, LabelRow, ScoreOutput, ScoreRow} from '../../ts/scoring/score_row.ts';
import {openSource} from '../../ts/sources/source.ts';
import {image, photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {load, raw, records} from './score_records.ts';

test('a row for each record, in order, as classify gives it; failures in their places', async t => {
  await using model = await load();
  const inputs: ScoreInput[] = [
    photos[0]!,
    'no such.jpg',
    await readFile(photos[1]!),
    {id: 'a', image: photos[2]!, label: 'cat', fields: {width: 3, height: 4}},
    raw(1),
    {id: 'b', image: image('truncated.jpg')},
    new URL(`file://${photos[3]!}`),
    {id: 'c', image: 5 as never},
    null as never,
  ];
  const scores = model.score(inputs, {topK: 2, batchSize: 2, fields: ['width', 'label']});
  const rows: ScoreRow[] = [];
  for await (const row of scores) rows.push(row);
  t.deepEqual(
    rows.map(({id}) => id),
    [photos[0]!, 'no such.jpg', '2', 'a', '4', 'b', `file://${photos[3]!}`, 'c', '8'],
  );
  const expected = await model.classify([...photos, raw(1)], {topK: 2});
  for (const [at, of] of [
    [0, 0],
    [2, 1],
    [3, 2],
    [6, 3],
    [4, 4],
  ] as const) {
    const {label, score, topK} = rows[at] as LabelRow;
    t.deepEqual(topK, expected[of]!);
    t.deepEqual({label, score}, {label: expected[of]![0]!.label, score: expected[of]![0]!.score});
  }
  const codes = rows.map(row => ('error' in row ? row.error.code : null));
  t.deepEqual(codes, [
    null,
    'ERR_FILE_NOT_FOUND',
    null,
    null,
    null,
    'ERR_IMAGE_DECODE',
    null,
    'ERR_INVALID_ARGUMENT',
    'ERR_INVALID_ARGUMENT',
  ]);
  t.deepEqual(rows[3]!.fields, {width: 3, label: 'cat'});
  t.like(scores.summary, {ok: 5, failed: 4, skipped: 0});
  t.true(scores.summary.computeMilliseconds > 0 && scores.summary.prepareMilliseconds > 0);
});

test('logits, embeddings and timing', async t => {
  await using model = await load();
  const rowsOf = async <Output extends ScoreOutput = 'labels'>(options: ScoreOptions<Output>) => {
    const rows: ScoreRow<Output>[] = [];
    for await (const row of model.score(photos, options)) rows.push(row);
    return rows;
  };
  // What a row is follows from the options, for TypeScript too.
  t.deepEqual(
    (await rowsOf({output: 'logits'})).map(row => ('error' in row ? row : row.logits)),
    await model.logits(photos),
  );
  t.deepEqual(
    (await rowsOf({output: 'embeddings'})).map(row => ('error' in row ? row : row.embedding)),
    await model.embed(photos),
  );
  const [timed, untimed] = [await rowsOf({timing: true}), await rowsOf({})];
  t.deepEqual(
    timed.map(row => ('error' in row ? row : row.topK)),
    await model.classify(photos),
  );
  for (const {timing} of timed) t.true(timing!.prepareMilliseconds > 0 && timing!.computeMilliseconds > 0);
  t.false('timing' in untimed[0]!);
});

test('a second row with an id is an error where ids are unique; skipped records have no row', async t => {
  await using model = await load();
  const ids = ['a', 'b', 'a', 'c', 'b', 'a'];
  const source = ids.map((id, i) => ({id, image: raw(i)}));
  const scores = model.score(source, {uniqueIds: true, skip: id => id === 'c'});
  const rows: ScoreRow[] = [];
  for await (const row of scores) rows.push(row);
  t.deepEqual(
    rows.map(row => [row.id, 'error' in row ? row.error.code : 'ok']),
    [
      ['a', 'ok'],
      ['b', 'ok'],
      ['a', 'ERR_DUPLICATE_ID'],
      ['b', 'ERR_DUPLICATE_ID'],
      ['a', 'ERR_DUPLICATE_ID'],
    ],
  );
  t.like(scores.summary, {ok: 2, failed: 3, skipped: 1});
  const all: ScoreRow[] = [];
  for await (const row of model.score(source)) all.push(row);
  t.is(all.filter(row => 'error' in row).length, 0);
});

test('fields that no record has had are known while it goes on', async t => {
  await using model = await load();
  const source = [
    {id: 'a', image: raw(0), fields: {width: 3}},
    {id: 'b', error: new Error('none')} as never,
    {id: 'c', image: raw(1), label: 'cat', fields: {height: null}},
  ];
  const fields = ['width', 'heigth', 'height', 'label'];
  const scores = model.score(source, {fields, batchSize: 1, skip: id => id === 'c'});
  t.deepEqual(scores.summary.missingFields, fields);
  for await (const row of scores) t.not(row.id, 'c');
  t.deepEqual(scores.summary.missingFields, ['heigth']);
  t.deepEqual(model.score([]).summary.missingFields, []);
});

test('a source of an unreadable record and one that fails: its rows are given before its error', async t => {
  await using model = await load({batchSize: 2});
  const list = join(await temporaryFolder(t), 'list.ndjson');
  const {writeFile} = await import('node:fs/promises');
  await writeFile(list, `{"image": ${JSON.stringify(photos[0])}}\nnot JSON\n`);
  async function* failing(): AsyncGenerator<ScoreInput> {
    yield* openSource(list);
    yield raw(3);
    throw new Error('the source broke');
  }
  const scores = model.score(failing());
  const rows: ScoreRow[] = [];
  await t.throwsAsync(
    async () => {
      for await (const row of scores) rows.push(row);
    },
    {message: 'the source broke'},
  );
  t.deepEqual(
    rows.map(({id}) => id),
    [photos[0]!, `${list}:2`, '2'],
  );
  t.is((rows[1] as FailedRow).error.code, 'ERR_SOURCE');
  t.like(scores.summary, {ok: 2, failed: 1});
});

test('a record keeps its id and its error, whatever they are; messages name what has no path', async t => {
  await using model = await load();
  const inputs = [
    {id: 'a', path: 'x.jpg'},
    {id: 'b', error: new Error('The shop has no image.')},
    {id: 'c', image: Buffer.from('text')},
    {id: null, image: Buffer.from('text')},
    {id: {a: 1n}, image: Buffer.from('text')},
    Buffer.from('text'),
    null,
    'https://example.com/x.jpg',
  ] as ScoreInput[];
  const rows = (await Readable.from(model.score(inputs)).toArray()) as FailedRow[];
  t.deepEqual(
    rows.map(({id, error}) => [id, error.code, error.message]),
    [
      [
        'a',
        'ERR_INVALID_ARGUMENT',
        'Expected a path, a Buffer or {data, width, height, channels} for a but received an object of type Object.',
      ],
      ['b', 'ERR_SOURCE', 'The shop has no image.'],
      ['c', 'ERR_IMAGE_DECODE', 'Cannot decode c: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.'],
      [
        '3',
        'ERR_IMAGE_DECODE',
        'Cannot decode input 3: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.',
      ],
      [
        '{"a":"1"}',
        'ERR_IMAGE_DECODE',
        'Cannot decode {"a":"1"}: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.',
      ],
      [
        '5',
        'ERR_IMAGE_DECODE',
        'Cannot decode input 5: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.',
      ],
      [
        '6',
        'ERR_INVALID_ARGUMENT',
        'Expected a path, a Buffer or {data, width, height, channels} for input 6 but received null.',
      ],
      [
        'https://example.com/x.jpg',
        'ERR_FILE_NOT_FOUND',
        'Cannot read image https://example.com/x.jpg: no such file; pass a URL as a URL object.',
      ],
    ],
  );
});

test('back-pressure: a consumer that stops reading stops the source, and whatever it reads has come before', async t => {
  await using model = await load({batchSize: 4});
  let asked = 0;
  let left = false;
  async function* source(): AsyncGenerator<ScoreInput> {
    try {
      for (; ; asked++) yield {id: String(asked), image: raw(asked)};
    } finally {
      left = true;
    }
  }
  const scores = model.score(source());
  for (let i = 0; i < 10; i++) await scores.next();
  await new Promise(resolve => setTimeout(resolve, 200));
  t.true(asked <= 10 + 5 * 4, `${asked} records were asked for after 10 rows`);
  t.true(asked >= 16, `${asked} records: the next batch was not prepared meanwhile`);
  t.false(left);
  await scores.return({} as never);
  t.true(left);
  t.true((await scores.next()).done);
});

test('rows do not wait for records that are yet to come', async t => {
  await using model = await load({batchSize: 2});
  const input = new PassThrough({objectMode: true});
  const scores = model.score(input);
  for (let batch = 0; batch < 3; batch++) {
    input.write({id: `${batch} first`, image: raw(batch)});
    input.write({id: `${batch} second`, image: raw(batch)});
    t.like((await scores.next()).value, {id: `${batch} first`});
    t.like((await scores.next()).value, {id: `${batch} second`});
  }
  input.end();
  t.true((await scores.next()).done);
});

test('records of a slow source wait for others no longer than maxWait', async t => {
  await using model = await load({batchSize: 8});
  const input = new PassThrough({objectMode: true});
  const scores = model.score(input, {maxWait: 50});
  const ids: string[] = [];
  for (const size of [3, 1, 8, 2]) {
    for (let i = 0; i < size; i++) input.write({id: `${size}.${i}`, image: raw(i)});
    for (let i = 0; i < size; i++) ids.push(((await scores.next()).value as ScoreRow).id);
  }
  t.deepEqual(
    ids,
    [3, 1, 8, 2].flatMap(size => Array.from({length: size}, (_, i) => `${size}.${i}`)),
  );
});

test('a record that arrives after maxWait is in the next batch, and an abort then still ends it', async t => {
  await using model = await load({batchSize: 2});
  const input = new PassThrough({objectMode: true});
  const controller = new AbortController();
  const scores = model.score(input, {maxWait: 1, signal: controller.signal});
  for (let i = 0; i < 3; i++) {
    const next = scores.next();
    input.write({id: `${i}`, image: raw(i)});
    t.like((await next).value, {id: `${i}`});
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  controller.abort();
  await t.throwsAsync(scores.next(), {any: true, name: 'AbortError'});

  const broken = new Error('the source broke');
  async function* failing(): AsyncGenerator<ScoreInput> {
    yield raw(0);
    await new Promise(resolve => setTimeout(resolve, 100));
    throw broken;
  }
  const others = model.score(failing(), {maxWait: 1});
  t.like((await others.next()).value, {id: '0'});
  await t.throwsAsync(others.next(), {is: broken});
});

test('a consumer that throws, or leaves while the source is silent, ends the source', async t => {
  await using model = await load({batchSize: 2});
  let left = 0;
  async function* source(silentAfter: number): AsyncGenerator<ScoreInput> {
    try {
      for (let i = 0; ; i++) {
        if (i === silentAfter) await new Promise(() => {});
        yield raw(i);
      }
    } finally {
      left++;
    }
  }
  await t.throwsAsync(
    async () => {
      for await (const row of model.score(source(1e9))) throw new Error(`no use for ${row.id}`);
    },
    {message: 'no use for 0'},
  );
  t.is(left, 1);
  for await (const _ of model.score(source(3))) break; // Does not wait for the record that never comes.
  t.pass();
});

test('an abort ends it in the middle of a batch, while the source is silent and while rows wait', async t => {
  await using model = await load({batchSize: 4});
  async function* silent(): AsyncGenerator<ScoreInput> {
    yield* records(5);
    await new Promise(() => {});
  }
  for (const source of [records(1e9), silent()]) {
    const controller = new AbortController();
    const reason = new Error('enough');
    let rows = 0;
    await t.throwsAsync(
      async () => {
        for await (const _ of model.score(source, {signal: controller.signal})) {
          if (++rows === 3) controller.abort(reason);
        }
      },
      {is: reason},
    );
    t.is(rows, 3);
    t.is(getEventListeners(controller.signal, 'abort').length, 0);
  }
  const controller = new AbortController();
  const scores = model.score(silent(), {signal: controller.signal});
  for (let i = 0; i < 4; i++) await scores.next();
  setTimeout(() => controller.abort(), 20);
  await t.throwsAsync(scores.next(), {any: true, name: 'AbortError'});
});

test('dispose in mid-stream: it does not wait for the stream, whose rows before it come and then ERR_DISPOSED', async t => {
  const model = await load({batchSize: 4});
  let left = false;
  async function* source(): AsyncGenerator<ScoreInput> {
    try {
      yield* records(1e9);
    } finally {
      left = true;
    }
  }
  const scores = model.score(source());
  await scores.next();
  await model.dispose();
  let rows = 1;
  await t.throwsAsync(
    async () => {
      for await (const _ of scores) rows++;
    },
    {code: 'ERR_DISPOSED'},
  );
  t.true(rows >= 4 && rows <= 16, `${rows} rows`);
  t.true(left);
  t.throws(() => model.score([]), {code: 'ERR_DISPOSED'});
});

test('arguments are checked at once', async t => {
  await using model = await load();
  const cases: [unknown, object, RegExp][] = [
    ['a.jpg', {}, /Expected an iterable of images or records for source but received "a.jpg"/],
    [5, {}, /for source/],
    [[], {output: 'label'}, /for output but received "label"/],
    [[], {topK: 0}, /for topK/],
    [
      [],
      {output: 'embeddings', topK: 5},
      /Expected no value with the output "embeddings" for topK but received 5/,
    ],
    [[], {batchSize: 5000}, /for batchSize/],
    [[], {concurrency: 1.5}, /for concurrency/],
    [[], {fields: 'id'}, /for fields/],
    [[], {skip: true}, /for skip/],
    [[], {maxWait: 0}, /for maxWait/],
    [[], {signal: {}}, /for signal/],
    [[], {fetchTimeout: -1}, /for fetchTimeout/],
    [[], {timing: 'yes'}, /for timing/],
    [[], {uniqueIds: 1}, /for uniqueIds/],
  ];
  for (const [source, options, message] of cases) {
    t.throws(() => model.score(source as [], options), {code: 'ERR_INVALID_ARGUMENT', message});
  }
  for (const method of ['classify', 'classifySettled', 'logits', 'embed'] as const) {
    await t.throwsAsync(model[method]([], {fetchTimeout: 0}), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /for fetchTimeout/,
    });
  }
  t.throws(() => model.scoreStream({topK: 0}), {code: 'ERR_INVALID_ARGUMENT'});
  t.throws(() => model.scoreTransformStream({topK: 0}), {code: 'ERR_INVALID_ARGUMENT'});
});

test('the embedded images through a folder source', async t => {
  await using model = await load({batchSize: 32});
  const scores = model.score(openSource(digits.images));
  let right = 0;
  for await (const row of scores) if ('label' in row && row.id.endsWith(`-${row.label}.png`)) right++;
  t.true(scores.summary.ok >= 100);
  t.true(right / scores.summary.ok > 0.9, `${right} of ${scores.summary.ok}`);
});
