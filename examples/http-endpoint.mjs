// An HTTP endpoint that batches concurrent requests:
//
//   npm install repvgg express
//   node http-endpoint.mjs [CHECKPOINT] [PORT]
//   curl --data-binary @cat.jpg -H 'content-type: image/jpeg' http://127.0.0.1:3000/classify
//
// Up to two batches are in progress, one being decoded and one computed. Requests that arrive meanwhile form the next batch; a
// lone request never waits.
import express from 'express';
import {RepVGG} from 'repvgg';

const [checkpoint = 'digits', port = '3000'] = process.argv.slice(2);
const model = await RepVGG.load(checkpoint);

/** Requests that wait for the next batch: {image, resolve, reject}. */
const waiting = [];
let inProgress = 0;

/** Resolves to {result, batchSize}, where the result is the predictions, or an error if the image cannot be read. */
function classify(image) {
  return new Promise((resolve, reject) => {
    waiting.push({image, resolve, reject});
    run();
  });
}

async function run() {
  if (inProgress === 2) return;
  inProgress++;
  while (waiting.length > 0) {
    const batch = waiting.splice(0, model.batchSize);
    try {
      const results = await model.classifySettled(
        batch.map(({image}) => image),
        {topK: 3},
      );
      for (const [i, {resolve}] of batch.entries()) resolve({result: results[i], batchSize: batch.length});
    } catch (error) {
      for (const {reject} of batch) reject(error);
    }
  }
  inProgress--;
}

const app = express();
app.post('/classify', express.raw({type: 'image/*', limit: '20mb'}), async (request, response) => {
  if (!Buffer.isBuffer(request.body)) return response.status(415).json({error: 'Send an image.'});
  const {result, batchSize} = await classify(request.body);
  if (result instanceof Error) return response.status(422).json({code: result.code, error: result.message});
  response.set('x-batch-size', String(batchSize)).json(result);
});

const server = app.listen(Number(port), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/classify`);
});

process.once('SIGTERM', () => {
  server.close(() => model.dispose()); // after the requests in progress
});
