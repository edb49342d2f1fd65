// Scores a source of as many records as its argument says, and prints the memory of the process after each tenth. They are tiny
// images, and every fiftieth one that cannot be read.
import {RepVGG} from '../../ts/model.ts';
import type {ScoreInput} from '../../ts/scoring/score.ts';

const count = Number(process.argv[2]);

function* records(): Generator<ScoreInput> {
  for (let i = 0; i < count; i++) {
    const data = new Uint8Array(i % 50 === 49 ? 0 : 64).fill(i);
    yield {id: `image ${i}`, image: {data, width: 8, height: 8, channels: 1}};
  }
}

await using model = await RepVGG.load('digits', {
  device: 'cpu',
  threads: 1,
  batchSize: 32,
  preprocessing: {resize: 8, crop: 8},
});
const scores = model.score(records(), {topK: 1});
const mebibytes: number[] = [];
let rows = 0;
for await (const _ of scores) {
  if (++rows % (count / 10) === 0) mebibytes.push(process.memoryUsage.rss() / 2 ** 20);
}
console.log(JSON.stringify({...scores.summary, mebibytes}));
