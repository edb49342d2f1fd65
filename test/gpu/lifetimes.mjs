// node lifetimes.mjs [--list] [--from NAME] [--images 64] [part of a name ...]: processes and threads that end while the GPU works,
// and threads that load models at the same time, with the digits network: one line of JSON each. Exit code 1 if one failed.
// Each case is a process of its own, which must say that it came to its end and end with code 0.
import {spawnSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import path from 'node:path';
import {parseArgs} from 'node:util';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';

const file = import.meta.filename;
const folder = path.resolve(import.meta.dirname, '../../assets/digits/images');
const end = 'at the end';

const {values: given, positionals} = parseArgs({
  options: {
    list: {type: 'boolean'},
    from: {type: 'string'},
    case: {type: 'string'},
    images: {type: 'string', default: '64'},
  },
  allowPositionals: true,
});

/** Not imported by the main thread before it has to be: a thread that is the only one to use the addon unloads it as it ends. */
async function load() {
  const {RepVGG} = await import('../../dist/index.js');
  const model = await RepVGG.load('digits', {device: 'cuda', batchSize: 16});
  const images = readdirSync(folder).slice(0, Number(given.images));
  const logits = async () =>
    (await model.logits(images.map(name => path.join(folder, name)))).map(row => [...row]);
  return {model, logits};
}

/** Batches in flight and more behind them; returns with the first. */
async function keepBusy(logits) {
  const runs = Array.from({length: 8}, () => logits());
  for (const run of runs) run.catch(() => {});
  return runs[0];
}

const exit = worker => new Promise(resolve => worker.once('exit', resolve));

/** A thread that is at work, ends so, and what it had computed before. */
async function runWorker(how) {
  const worker = new Worker(file, {workerData: how, argv: process.argv.slice(2)});
  const exited = exit(worker);
  const got = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    exited.then(code => reject(new Error(`the thread ended with code ${code} before it had a result`)));
  });
  if (how === 'terminate') await worker.terminate();
  await exited;
  return got;
}

function same(results) {
  const [expected, ...others] = results.map(result => JSON.stringify(result));
  if (others.some(other => other !== expected)) throw new Error('the threads have different results');
}

const cases = {
  'lifetimes: a process that ends without disposing of its model': async () => {
    const {logits} = await load();
    await logits();
  },
  'lifetimes: a process that exits while batches run': async () => {
    const {logits} = await load();
    await keepBusy(logits);
    console.log(end);
    process.exit(0);
  },
  'lifetimes: threads, one after the other, that end while batches run': async () => {
    const results = [];
    for (const how of ['exit', 'terminate', 'exit', 'terminate']) results.push(await runWorker(how));
    const {model, logits} = await load();
    same([...results, await logits()]);
    await model.dispose();
  },
  'lifetimes: threads that load and run models at the same time': async () => {
    same(await Promise.all([runWorker('dispose'), runWorker('dispose'), runWorker('terminate')]));
  },
};

if (!isMainThread) {
  const {model, logits} = await load();
  parentPort.postMessage(await keepBusy(logits));
  if (workerData === 'exit') process.exit(0);
  if (workerData === 'dispose') await model.dispose();
} else if (given.case !== undefined) {
  await cases[given.case]();
  console.log(end);
} else {
  const names = Object.keys(cases).filter(
    name => positionals.length === 0 || positionals.some(part => name.includes(part)),
  );
  if (given.list) {
    for (const name of names) console.log(JSON.stringify(name));
    process.exit(0);
  }
  let failed = false;
  for (const name of names.slice(given.from === undefined ? 0 : names.indexOf(given.from))) {
    const start = performance.now();
    const {status, signal, stdout, stderr} = spawnSync(
      process.execPath,
      [file, '--case', name, '--images', given.images],
      {encoding: 'utf8', timeout: 60_000},
    );
    const ok = status === 0 && stdout.includes(end);
    const detail = ok ? '' : `ended with ${signal ?? `exit code ${status}`}: ${stderr.trim().slice(-500)}`;
    failed ||= !ok;
    console.log(JSON.stringify({name, ok, ms: Math.round(performance.now() - start), detail}));
  }
  process.exitCode = failed ? 1 : 0;
}
