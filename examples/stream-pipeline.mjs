// The model as a stage of a Node stream pipeline, from paths on standard input to NDJSON on standard output:
//
//   npm install repvgg
//   find photos -name '*.jpg' | node stream-pipeline.mjs [CHECKPOINT] > labels.ndjson
//
// Memory stays bounded: back-pressure from the output slows down the input.
import {createInterface} from 'node:readline';
import {pipeline} from 'node:stream/promises';
import {RepVGG} from 'repvgg';

const model = await RepVGG.load(process.argv[2] ?? 'digits');
const scores = model.scoreStream({topK: 1});
try {
  await pipeline(
    createInterface({input: process.stdin}),
    scores,
    async function* (rows) {
      for await (const row of rows) yield `${JSON.stringify(row)}\n`;
    },
    process.stdout,
  );
} catch (error) {
  if (error.code !== 'EPIPE') throw error; // The reader has left, as with `| head`.
}
const {ok, failed} = scores.summary;
console.error(`${ok} images scored, ${failed} failed`);
await model.dispose();
