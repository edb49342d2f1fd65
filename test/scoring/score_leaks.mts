// Makes every fault of batch scoring happen again and again, and prints for each what the process had more of at the end: MiB of memory,
// open files, and whatever else keeps the event loop alive. To be run with --expose-gc and a limit on the size of files.
import {once} from 'node:events';
import {mkdtemp, readdir, readFile, rm, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import sharp from 'sharp';
import {RepVGGError} from '../../ts/errors.ts';
import {RepVGG} from '../../ts/model.ts';
import {scoreToFile} from '../../ts/score_file.ts';
import {keep, runBatches} from '../../ts/scoring/run_batches.ts';
import {type ScoreInput, type ScoreOptions, scoreRecords} from '../../ts/scoring/score.ts';
import {openSource} from '../../ts/sources/source.ts';
import {bomb, image, photos} from '../fixtures.ts';

const [warmUps, windows, rounds] = [4, 3, 8];
// Large enough that a batch that is kept shows: 1.2 MB.
const load = (): Promise<RepVGG> =>
  RepVGG.load('digits', {device: 'cpu', batchSize: 8, preprocessing: {resize: 224, crop: 224}});
const model = await load();
const folder = await mkdtemp(join(tmpdir(), 'repvgg-leaks-'));
const jpeg = await readFile(photos[0]!);
await writeFile(join(folder, 'jpeg.png'), jpeg);
await writeFile(join(folder, 'closed.jpg'), jpeg, {mode: 0});
const animated = await sharp(Buffer.alloc(8 * 16 * 3), {
  raw: {width: 8, height: 16, channels: 3, pageHeight: 8},
})
  .gif()
  .toBuffer();
const parquet = await readFile(join(folder, await writeParquet()));
await writeFile(join(folder, 'short.parquet'), parquet.subarray(0, parquet.length - 100));
const server = createServer((_, response) => {
  response.write(jpeg.subarray(0, 100));
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const silent = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/a.jpg`);

async function writeParquet(): Promise<string> {
  const name = 'rows.parquet';
  await scoreToFile(model, [{id: 'a', image: jpeg}], join(folder, name));
  return name;
}

async function* endless(): AsyncGenerator<ScoreInput> {
  for (let i = 0; ; i++) yield {id: `${i}`, image: jpeg};
}

/** Scores to the end, or until `stopAfter` rows; an error is what the fault is about. */
async function score(
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  options: ScoreOptions = {},
  stopAfter = Infinity,
): Promise<void> {
  let rows = 0;
  for await (const _ of model.score(source, options)) if (++rows === stopAfter) return;
}

const codes = new Set<string>();
const images = async (...inputs: ScoreInput[]): Promise<void> => {
  for await (const row of model.score([...inputs, ...inputs, ...inputs]))
    codes.add('error' in row ? row.error.code : 'ok');
};
const faults: Record<string, () => Promise<unknown>> = {
  truncated: () => images(image('truncated.jpg')),
  empty: () => images(image('empty.jpg'), new Uint8Array(0)),
  huge: () => images(bomb(50_000, 50_000)),
  'CMYK, 16 bits, EXIF': () => images(image('cmyk.jpg'), image('grey16.png'), image('exif6.jpg')),
  'animated, wrong extension': () => images(animated, join(folder, 'jpeg.png')),
  'missing file': () => images(join(folder, 'none.jpg'), folder),
  // The folder is root's, who may read everything, or of whoever runs this, and then the mode counts.
  'permission denied': async () => {
    const user = process.geteuid!();
    if (user === 0) process.seteuid!(65534);
    try {
      await images(join(folder, 'closed.jpg'));
    } finally {
      process.seteuid!(user);
    }
  },
  'URL that times out': () => score([silent], {fetchTimeout: 20}),
  'duplicate id': () =>
    score(
      Array.from({length: 8}, () => ({id: 'a', image: jpeg})),
      {uniqueIds: true},
    ),
  'Parquet cut short': () => score(openSource(join(folder, 'short.parquet'))),
  'consumer that leaves': () => score(endless(), {}, 5),
  'consumer that throws': async () => {
    for await (const _ of model.score(endless())) throw new Error('no use');
  },
  'abort in mid-batch': async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 10);
    await score(endless(), {signal: controller.signal});
  },
  'dispose in mid-stream': async () => {
    const own = await load();
    let rows = 0;
    for await (const _ of own.score(endless())) if (++rows === 3) await own.dispose();
  },
  'model lost': async () => {
    let batches = 0;
    const compute = async (): Promise<() => {label: string}> => {
      if (++batches === 3) throw new RepVGGError('ERR_DEVICE_LOST', 'The GPU failed.');
      return () => ({label: 'x'});
    };
    const {preprocessing, batchSize} = model;
    const scores = scoreRecords(endless(), {}, (items, imageOf) =>
      runBatches(items, imageOf, {preprocessing, batchSize, devices: 1}, compute, keep),
    );
    for await (const _ of scores);
  },
  'output of another run': async () => {
    const path = join(folder, 'rows.csv');
    const stop = new AbortController();
    let begun = (): void => {};
    const isWriting = new Promise<void>(resolve => {
      begun = resolve;
    });
    const first = scoreToFile(model, endless(), path, {stop: stop.signal, onProgress: begun});
    await isWriting;
    await scoreToFile(model, endless(), path).finally(async () => {
      stop.abort();
      await first;
      await rm(`${path}.partial`);
      await rm(`${path}.partial.json`);
    });
  },
  'disk full': async () => {
    const path = join(folder, 'rows.ndjson');
    const records = Array.from({length: 200}, (_, i) => ({id: `${i}`.padEnd(1000), image: 'none.jpg'}));
    await scoreToFile(model, records, path).finally(() =>
      Promise.all([rm(`${path}.partial`, {force: true}), rm(`${path}.partial.json`, {force: true})]),
    );
  },
};

interface Held {
  mebibytes: number;
  files: number;
  resources: number;
}

/**
 * Once the garbage is collected and what is on its way to be closed is closed: on a busy machine that takes a while, for which
 * it waits where there is more than before.
 */
async function held(
  before: Pick<Held, 'files' | 'resources'> = {files: Infinity, resources: Infinity},
): Promise<Held> {
  let files = Infinity;
  let resources = Infinity;
  for (let i = 0; i < 5 || (i < 300 && (files > before.files || resources > before.resources)); i++) {
    await new Promise(resolve => setTimeout(resolve, 10));
    globalThis.gc!();
    files = (await readdir('/proc/self/fd')).length;
    resources = process.getActiveResourcesInfo().length;
  }
  return {mebibytes: process.memoryUsage.rss() / 2 ** 20, files, resources};
}

const results: Record<string, Held & {errors: string[]; codes: string[]}> = {};
for (const [name, fault] of Object.entries(faults)) {
  const errors = new Set<string>();
  codes.clear();
  const repeat = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      await fault().catch((error: Error & {code?: string}) => errors.add(error.code ?? error.message));
      server.closeAllConnections();
    }
  };
  await repeat(warmUps);
  const before = await held();
  let mebibytes = Infinity;
  let after = before;
  for (let window = 0; window < windows; window++) {
    const last = after;
    await repeat(rounds);
    after = await held(before);
    // Memory that is not given back shows in every window; that which only came later than the warm-up does not.
    mebibytes = Math.min(mebibytes, after.mebibytes - last.mebibytes);
  }
  results[name] = {
    mebibytes,
    files: after.files - before.files,
    resources: after.resources - before.resources,
    errors: [...errors].map(String),
    codes: [...codes],
  };
}
server.close();
await model.dispose();
await rm(folder, {recursive: true});
console.log(JSON.stringify(results));
