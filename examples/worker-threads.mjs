// A model in a worker thread, for programs whose main thread is busy. Inference itself never blocks the event loop; the worker
// only takes over the JavaScript around it.
//
//   npm install repvgg
//   node worker-threads.mjs CHECKPOINT IMAGE...
import {on, once} from 'node:events';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';
import {RepVGG} from 'repvgg';

if (isMainThread) await main();
else await serve();

async function main() {
  const [checkpoint, ...images] = process.argv.slice(2);
  if (images.length === 0) {
    console.error('usage: node worker-threads.mjs CHECKPOINT IMAGE...');
    process.exit(2);
  }
  process.stdout.on('error', error => {
    if (error.code === 'EPIPE') process.exit(); // The reader has left, as with `| head`.
    throw error;
  });
  const worker = new Worker(new URL(import.meta.url), {workerData: {checkpoint}});
  worker.on('message', ({id, label, score, error}) => {
    console.log(`${id}: ${error?.message ?? `${label} ${score.toFixed(3)}`}`);
  });
  for (const image of images) worker.postMessage(image);
  worker.postMessage(null);
  await once(worker, 'exit');
}

/** Replies to each path with its row, in order, until it receives null. */
async function serve() {
  const messages = on(parentPort, 'message'); // Before loading, so that no message is missed.
  const model = await RepVGG.load(workerData.checkpoint);
  // A path waits at most 10 ms for its batch to fill up.
  const rows = model.score(paths(messages), {topK: 1, maxWait: 10});
  for await (const row of rows) parentPort.postMessage(row);
  await model.dispose();
}

async function* paths(messages) {
  for await (const [path] of messages) {
    if (path === null) return;
    yield path;
  }
}
