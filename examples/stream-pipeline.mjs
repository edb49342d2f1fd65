// The model as one stage of a Node stream pipeline, here from paths on standard input to NDJSON on standard output:
//
//   npm install repvgg
//   find photos -name '*.jpg' | node stream-pipeline.mjs [CHECKPOINT] > labels.ndjson
//
// Memory stays bounded: a slow reader of the output slows down the reading of the input.
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
  if (error.code !== 'EPIPE') throw error; // Its reader has had enough, as with `| head`.
}
const {ok, failed} = scores.summary;
console.error(`${ok} images scored, ${failed} failed`);
await model.dispose();
