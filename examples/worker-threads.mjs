// A model in a worker thread, for programs whose main thread is busy. (Inference itself never blocks a thread's event loop: the
// thread only keeps the JavaScript around it apart.)
//
//   npm install repvgg
//   node worker-threads.mjs [CHECKPOINT] IMAGE...
import {on, once} from 'node:events';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';
import {RepVGG} from 'repvgg';

if (isMainThread) await main();
else await serve();

async function main() {
  const [checkpoint = 'digits', ...images] = process.argv.slice(2);
  const worker = new Worker(new URL(import.meta.url), {workerData: {checkpoint}});
  worker.on('message', ({image, predictions, error}) => {
    console.log(`${image}: ${error ?? `${predictions[0].label} ${predictions[0].score.toFixed(3)}`}`);
  });
  for (const image of images) worker.postMessage(image);
  worker.postMessage(null);
  await once(worker, 'exit');
}

/** Answers paths with {image, predictions} or {image, error}, as they are ready, until it is sent null. */
async function serve() {
  const messages = on(parentPort, 'message'); // From now on, so that none is missed.
  const model = await RepVGG.load(workerData.checkpoint);
  const answers = [];
  for await (const [image] of messages) {
    if (image === null) break;
    answers.push(answer(model, image));
  }
  await Promise.all(answers);
  await model.dispose();
}

async function answer(model, image) {
  const [result] = await model.classifySettled([image]);
  parentPort.postMessage(
    result instanceof Error ? {image, error: result.message} : {image, predictions: result},
  );
}
