// Scores every image under a folder into a Parquet file:
//
//   npm install repvgg
//   node folder-to-parquet.mjs FOLDER labels.parquet [CHECKPOINT]
//
// After an interruption, run it again to resume. Images that cannot be read become rows with an error.
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
if (alreadyComplete) console.log(`${output} is already complete`);
else
  console.log(`${ok} images scored, ${failed} failed${complete ? '' : '; interrupted, run again to resume'}`);
