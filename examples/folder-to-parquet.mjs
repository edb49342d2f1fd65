// Scores every image under a folder into a Parquet file:
//
//   npm install repvgg
//   node folder-to-parquet.mjs FOLDER labels.parquet [CHECKPOINT]
//
// Interrupted, it goes on where it stopped when it is run again. Images that cannot be read are rows with an error.
import {openSource, RepVGG, scoreToFile} from 'repvgg';

const [folder, output, checkpoint = 'digits'] = process.argv.slice(2);
if (!output) {
  console.error('usage: node folder-to-parquet.mjs FOLDER OUTPUT.parquet [CHECKPOINT]');
  process.exit(2);
}

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupt.abort());

const model = await RepVGG.load(checkpoint);
const {ok, failed, complete, alreadyComplete} = await scoreToFile(model, openSource(folder), output, {
  topK: 3,
  resume: true,
  stop: interrupt.signal,
});
await model.dispose();
if (alreadyComplete) console.log(`${output} is complete already`);
else console.log(`${ok} images scored, ${failed} failed${complete ? '' : ', interrupted: run it again'}`);
