// Reads a Parquet file with a column of images (paths, URLs or bytes) and writes one with their embeddings, a list of numbers
// per row, and the named columns as fields.COLUMN:
//
//   npm install repvgg
//   node parquet-embeddings.mjs images.parquet embeddings.parquet [CHECKPOINT] [COLUMN...]
import {openSource, RepVGG, scoreToFile} from 'repvgg';

const [input, output, checkpoint = 'digits', ...fields] = process.argv.slice(2);
if (!output) {
  console.error('usage: node parquet-embeddings.mjs INPUT OUTPUT.parquet [CHECKPOINT] [COLUMN...]');
  process.exit(2);
}

const model = await RepVGG.load(checkpoint);
const {ok, failed} = await scoreToFile(model, openSource(input, {fields}), output, {
  output: 'embeddings',
  fields,
});
await model.dispose();
console.log(`${ok} embeddings of ${model.architecture.widths[4]} numbers, ${failed} images failed`);
