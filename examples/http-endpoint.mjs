// An HTTP endpoint that puts concurrent requests together into batches:
//
//   npm install repvgg express
//   node http-endpoint.mjs [CHECKPOINT] [PORT]
//   curl --data-binary @cat.jpg -H 'content-type: image/jpeg' http://127.0.0.1:3000/classify
//
// Batches form by themselves: what arrives while two are under way, one being decoded and one computed, is the next one. A
// lone request never waits.
import express from 'express';
import {RepVGG} from 'repvgg';

const [checkpoint = 'digits', port = '3000'] = process.argv.slice(2);
const model = await RepVGG.load(checkpoint);

/** Requests that wait for the next batch: their image, and what to call with its result. */
const waiting = [];
let underWay = 0;

/** Resolves to an image's predictions, or to why it could not be read. */
function classify(image) {
  return new Promise((resolve, reject) => {
    waiting.push({image, resolve, reject});
    run();
  });
}

async function run() {
  if (underWay === 2) return;
  underWay++;
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
  underWay--;
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
  server.close(() => model.dispose()); // once the requests under way are answered
});
