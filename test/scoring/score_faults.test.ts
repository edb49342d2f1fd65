import {once} from 'node:events';
import {copyFile, readdir, readFile, readlink, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import {digits} from '../../ts/digits.ts';
import {RepVGGError} from '../../ts/errors.ts';
import {RepVGG} from '../../ts/model.ts';
import {prepareBatches} from '../../ts/scoring/batches.ts';
import {type ScoreInput, scoreRecords} from '../../ts/scoring/score.ts';
import type {FailedRow, LabelRow, ScoreRow} from '../../ts/scoring/score_row.ts';
import {workAhead} from '../../ts/support/ahead.ts';
import {bomb, image, photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';

const load = (options = {}): Promise<RepVGG> => RepVGG.load('digits', {device: 'cpu', ...options});

async function all(rows: AsyncIterable<ScoreRow>): Promise<ScoreRow[]> {
  const found = [];
  for await (const row of rows) found.push(row);
  return found;
}

test('images that are damaged or huge are error rows; odd ones are read; files are closed', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const wrong = join(folder, 'a.png');
  await copyFile(photos[0]!, wrong);
  await writeFile(join(folder, 'b.jpg'), 'text');
  const frames = await sharp({
    create: {width: 8, height: 16, channels: 3, background: 'red'},
  })
    .raw()
    .toBuffer();
  const animated = await sharp(frames, {raw: {width: 8, height: 16, channels: 3, pageHeight: 8}})
    .gif()
    .toBuffer();
  const cases: [string | Uint8Array, string][] = [
    [image('truncated.jpg'), 'ERR_IMAGE_DECODE'],
    [image('empty.jpg'), 'ERR_IMAGE_DECODE'],
    [bomb(50_000, 50_000), 'ERR_IMAGE_TOO_LARGE'],
    [join(folder, 'b.jpg'), 'ERR_IMAGE_DECODE'],
    [join(folder, 'none.jpg'), 'ERR_FILE_NOT_FOUND'],
    [folder, 'ERR_FILE_READ'],
    [wrong, 'ok'],
    [animated, 'ok'],
    [image('cmyk.jpg'), 'ok'],
    [image('grey16.png'), 'ok'],
    [image('exif6.jpg'), 'ok'],
  ];
  const scores = model.score(cases.map(([input]) => input));
  t.deepEqual(
    (await all(scores)).map(row => ('error' in row ? row.error.code : 'ok')),
    cases.map(([, code]) => code),
  );
  t.like(scores.summary, {ok: 5, failed: 6});
  const descriptors = (await readdir('/proc/self/fd')).map(fd =>
    readlink(`/proc/self/fd/${fd}`).catch(() => ''),
  );
  const open = new Set(await Promise.all(descriptors));
  t.deepEqual(
    cases.filter(([input]) => typeof input === 'string' && open.has(input)),
    [],
  );
});

test('a damaged image says what is wrong with it, whatever else is decoded at that time', async t => {
  await using model = await load();
  const png = await sharp({create: {width: 8, height: 8, channels: 3, background: 'red'}})
    .png()
    .toBuffer();
  const jpeg = await readFile(image('truncated.jpg'));
  const inputs = Array.from({length: 400}, (_, i) => (i % 2 === 0 ? png : jpeg));
  const rows = await all(model.score(inputs));
  t.deepEqual(
    [...new Set(rows.flatMap(row => ('error' in row ? row.error.message.replace(/input \d+/, 'it') : [])))],
    ['Cannot decode it: VipsJpeg: premature end of JPEG image.'],
  );
});

test('a URL: its image, a status, a server that is silent until the time is up, one that is not there', async t => {
  await using model = await load();
  const bytes = await readFile(photos[0]!);
  const server = createServer((request, response) => {
    if (request.url === '/ok.jpg?secret') response.end(bytes);
    else if (request.url === '/moved.jpg') response.writeHead(302, {location: '/ok.jpg?secret'}).end();
    else if (request.url === '/slow.jpg') response.write(bytes.subarray(0, 100));
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const url = (path: string, {port} = server.address() as AddressInfo): URL =>
    new URL(`http://127.0.0.1:${port}/${path}`);
  const gone = createServer().listen(0, '127.0.0.1');
  await once(gone, 'listening');
  const nowhere = url('x.jpg', gone.address() as AddressInfo);
  gone.close();
  const inputs = [url('ok.jpg?secret'), url('none.jpg'), nowhere];
  const moved = await all(model.score([url('moved.jpg')]));
  t.true('label' in moved[0]!);
  const rows = await all(model.score(inputs));
  const [expected] = await model.classify([bytes]);
  t.is((rows[0] as LabelRow).label, expected![0]!.label);
  rows.push(...(await all(model.score([url('slow.jpg')], {fetchTimeout: 300}))));
  const errors = rows.slice(1).map(row => (row as FailedRow).error);
  t.deepEqual(
    errors.map(({code}) => code),
    ['ERR_IMAGE_FETCH', 'ERR_IMAGE_FETCH', 'ERR_IMAGE_FETCH'],
  );
  t.regex(errors[0]!.message, /the server answered 404 Not Found/);
  t.regex(errors[1]!.message, /ECONNREFUSED/);
  t.regex(errors[2]!.message, /did not arrive within 0\.3 s/);
  const secret = Object.assign(url('ok.jpg?secret'), {username: 'me', password: 'hunter2'});
  const {error} = (await all(model.score([secret])))[0] as FailedRow;
  t.is(error.code, 'ERR_IMAGE_FETCH');
  t.regex(error.message, /\/ok\.jpg: its URL has a user name or a password, which is not sent\.$/);
  for (const [text, message] of [
    [
      's3://bucket/1.jpg?key=secret',
      /^Cannot fetch s3:\/\/bucket\/1\.jpg: only URLs of http, https, data and file are read\.$/,
    ],
    ['file://host/1.jpg', /^Cannot read image file:\/\/host\/1\.jpg: .*host/],
    ['file:///a%2F1.jpg', /^Cannot read image file:\/\/\/a%2F1\.jpg: /],
  ] as const) {
    const [row] = await all(model.score([new URL(text)]));
    t.is((row as FailedRow).error.code, 'ERR_IMAGE_FETCH');
    t.regex((row as FailedRow).error.message, message);
  }

  const controller = new AbortController();
  const scores = model.score([url('slow.jpg')], {signal: controller.signal});
  setTimeout(() => controller.abort(), 50);
  await t.throwsAsync(scores.next(), {any: true, name: 'AbortError'});
});

test('a server that is busy or ends the connection is asked again, within the time that there is', async t => {
  await using model = await load();
  const bytes = await readFile(photos[0]!);
  const asked = new Map<string, number>();
  const server = createServer((request, response) => {
    const url = request.url!;
    const times = (asked.get(url) ?? 0) + 1;
    asked.set(url, times);
    if (times === 2 && !url.endsWith('/busy.jpg')) response.end(bytes);
    else if (url === '/cut.jpg') request.socket.destroy();
    else if (url === '/short.jpg') response.write(bytes.subarray(0, 100), () => request.socket.destroy());
    else response.writeHead(503).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const url = (path: string): URL =>
    new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`);
  const rows = await all(model.score(['once.jpg', 'cut.jpg', 'short.jpg', 'busy.jpg'].map(url)));
  t.true(rows.slice(0, 3).every(row => 'label' in row));
  t.regex((rows[3] as FailedRow).error.message, /busy\.jpg: the server answered 503 Service Unavailable/);
  t.is(asked.get('/busy.jpg'), 3);
  const late = await all(model.score([url('busy.jpg')], {fetchTimeout: 200}));
  t.regex((late[0] as FailedRow).error.message, /did not arrive within 0\.2 s/);
  const controller = new AbortController();
  const scores = model.score([url('other/busy.jpg')], {signal: controller.signal});
  const rejected = t.throwsAsync(scores.next(), {any: true, name: 'AbortError'});
  while (asked.get('/other/busy.jpg') !== 2) await new Promise(resolve => setTimeout(resolve, 10));
  const begin = performance.now();
  controller.abort(); // In the pause of two seconds.
  await rejected;
  t.true(performance.now() - begin < 1500);
});

test('a batch that there is no memory for ends the run with its code', async t => {
  const preprocessing = {...digits.preprocessing, crop: 2 ** 20}; // 13 TB, more than any call is let through with.
  const {signal} = new AbortController();
  const prepared = prepareBatches(photos, path => path, {preprocessing, batchSize: 4, signal});
  await t.throwsAsync(prepared.next(), {
    code: 'ERR_OUT_OF_MEMORY',
    message: /^\d images of 1048576 x 1048576 pixels do not fit into memory: use smaller batches\.$/,
  });
});

test('a device that is lost ends the run after the rows before, and the source with it', async t => {
  const lost = new RepVGGError('ERR_DEVICE_LOST', 'The GPU failed.');
  const controller = new AbortController();
  let [batches, left] = [0, false];
  async function* source(): AsyncGenerator<ScoreInput> {
    try {
      for (let i = 0; ; i++)
        yield {id: `${i}`, image: {data: new Uint8Array(64), width: 8, height: 8, channels: 1}};
    } finally {
      left = true;
    }
  }
  const {signal} = controller;
  const scores = scoreRecords(source(), {}, (items, imageOf) =>
    workAhead(
      prepareBatches(items, imageOf, {preprocessing: digits.preprocessing, batchSize: 4, signal}),
      2,
      async ready => {
        if (++batches === 3) throw lost;
        const resultOf = (): {label: string} => ({label: 'x'});
        return {...ready, resultOf, computeMilliseconds: 1, busyMilliseconds: 1};
      },
      () => controller.abort(),
    ),
  );
  const ids: string[] = [];
  await t.throwsAsync(
    async () => {
      for await (const {id} of scores) ids.push(id);
    },
    {is: lost},
  );
  t.deepEqual(
    ids,
    Array.from({length: 8}, (_, i) => `${i}`),
  );
  t.true(left);
});
