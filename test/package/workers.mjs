// Four threads, each with a model of its own, at the same time; one is ended while it runs.
import {isMainThread, parentPort, Worker} from 'node:worker_threads';
import {RepVGG} from 'repvgg';

const image = 'node_modules/repvgg/assets/digits/images/0003-3.png';

if (isMainThread) {
  const answers = await Promise.all(
    [0, 1, 2, 3].map(async i => {
      const worker = new Worker(new URL(import.meta.url));
      const answer = await new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      );
      if (i === 3) await worker.terminate();
      return answer;
    }),
  );
  console.log(new Set(answers).size === 1 ? answers[0] : answers.join());
} else {
  await answerWith(await RepVGG.load('digits'));
}

async function answerWith(model) {
  const [[best]] = await model.classify([image]);
  parentPort.postMessage(best.label);
  await model.classify(Array.from({length: 64}, () => image));
  await model.dispose();
}
