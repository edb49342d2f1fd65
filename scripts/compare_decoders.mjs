// node scripts/compare_decoders.mjs [seconds]: compares ways to decode, resize and crop JPEGs, for docs/decoding.md. Needs
// `npm run build:all`. The WebAssembly decoder runs only if installed (npm install --no-save @cwasm/jpeg-turbo).
import {fork} from 'node:child_process';
import {createRequire} from 'node:module';
import {availableParallelism} from 'node:os';
import {fileURLToPath} from 'node:url';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';
import sharp from 'sharp';
import {architectureByName} from '../dist/architecture.js';
import {randomJpegs} from '../dist/bench/workload.js';
import {prepareImage} from '../dist/images/images.js';
import {native} from '../dist/native/addon.js';
import {defaultPreprocessing} from '../dist/preprocessing.js';

const script = fileURLToPath(import.meta.url);
const preprocessing = defaultPreprocessing(architectureByName('A0'));
const bytesOut = preprocessing.crop ** 2 * 3;
const cores = availableParallelism();

async function bySharp(jpeg) {
  const {data, info} = await sharp(jpeg, {failOn: 'error', ignoreIcc: true})
    .toColourspace('srgb')
    .removeAlpha()
    .raw({depth: 'uchar'})
    .toBuffer({resolveWithObject: true});
  return resized(data, info.width, info.height);
}

async function resized(data, width, height) {
  const out = new Uint8Array(bytesOut);
  await native().resizeCrop(data, width, height, preprocessing, out, 0);
  return out;
}

/** Prints images per second and per second of processor time, with `inFlight` images at a time. */
async function measure(name, inFlight, jpegs, prepare, cpuOf = () => process.cpuUsage()) {
  const seconds = Number(process.argv[2] ?? 3);
  let done = 0;
  const work = async until => {
    while (performance.now() < until) await prepare(jpegs[done++ % jpegs.length]);
  };
  const all = until => Promise.all(Array.from({length: inFlight}, () => work(until)));
  await all(performance.now() + 500);
  done = 0;
  const cpuBefore = await cpuOf();
  const start = performance.now();
  await all(start + 1000 * seconds);
  const elapsed = (performance.now() - start) / 1000;
  const cpu = await cpuOf();
  const used = (cpu.user + cpu.system - cpuBefore.user - cpuBefore.system) / 1e6;
  console.log(
    `${name.padEnd(44)} ${(done / elapsed).toFixed(0).padStart(6)} images/s ${(done / used).toFixed(0).padStart(6)} per processor second`,
  );
}

/** Distributes requests to workers in turn. `send(worker, message)` sends [id, jpeg]; replies are [id, answer]. */
function pool(workers, send) {
  const waiting = new Map();
  let next = 0;
  for (const worker of workers)
    worker.on('message', ([id, answer]) => {
      waiting.get(id)(answer);
      waiting.delete(id);
    });
  return jpeg =>
    new Promise(resolve => {
      waiting.set(next, resolve);
      send(workers[next % workers.length], [next++, jpeg]);
    });
}

if (process.send) {
  sharp.concurrency(1);
  process.on('message', async ([id, jpeg]) => {
    process.send([id, jpeg ? await bySharp(jpeg) : process.cpuUsage()]);
  });
} else if (!isMainThread) {
  const {decode} = createRequire(import.meta.url)(workerData);
  parentPort.on('message', async ([id, jpeg]) => {
    const {data, width, height} = decode(jpeg);
    const rgb = new Uint8Array(width * height * 3);
    for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) {
      rgb[i] = data[j];
      rgb[i + 1] = data[j + 1];
      rgb[i + 2] = data[j + 2];
    }
    parentPort.postMessage([id, await resized(rgb, width, height)]);
  });
} else {
  sharp.concurrency(1);
  const jpegs = await randomJpegs(32);
  console.log(`${cores} cores; JPEGs of 500 x 375 pixels to ${preprocessing.crop} x ${preprocessing.crop}`);
  await measure('sharp, as many at a time as cores', cores, jpegs, bySharp);

  const children = Array.from({length: cores}, () => fork(script, {serialization: 'advanced'}));
  const inChildren = pool(children, (child, message) => child.send(message));
  await measure('sharp in a process for each core', 2 * cores, jpegs, inChildren, async () => {
    const all = [process.cpuUsage(), ...(await Promise.all(children.map(() => inChildren(null))))];
    return {
      user: all.reduce((sum, {user}) => sum + user, 0),
      system: all.reduce((sum, {system}) => sum + system, 0),
    };
  });
  for (const child of children) child.disconnect();

  const wasm = '@cwasm/jpeg-turbo';
  try {
    createRequire(import.meta.url).resolve(wasm);
    const threads = Array.from({length: cores}, () => new Worker(script, {workerData: wasm}));
    const inThreads = pool(threads, (thread, message) => thread.postMessage(message));
    await measure('WebAssembly in a thread for each core', 2 * cores, jpegs, inThreads);
    for (const thread of threads) await thread.terminate();
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    console.log(`${wasm} is not installed`);
  }

  const out = new Uint8Array(bytesOut);
  const prepare = jpeg => prepareImage(jpeg, 'x', preprocessing, out, 0);
  await measure(`the addon (${native().cpuInfo().jpeg})`, 2 * cores, jpegs, prepare);
}
