import type {Command} from 'commander';
import {appendTexts, checkReplaceable, replaceFile} from '../support/replace_file.ts';
import {jsonRow} from './classify.ts';
import {imagesArgument, openImages} from './images.ts';
import {loadModel} from './load.ts';
import {
  addNetworkOptions,
  endsIn,
  exitCode,
  jsonOption,
  type NetworkFlags,
  needCheckpoint,
  parsePositiveInteger,
  refuseIgnored,
  takePreprocessing,
} from './options.ts';
import {oneLine, print, printJson, warnFailed} from './output.ts';

interface Flags extends NetworkFlags {
  output: string;
  rows?: true;
  topK: number;
  json?: true;
}

const examples = `
Examples:
  $ repvgg infer cat.jpg dog.jpg --checkpoint RepVGG-A0-train.pth
  $ repvgg infer . --checkpoint RepVGG-A0-train.pth --rows --top-k 3 --output rows.json`;

export function addInfer(program: Command): void {
  const command = program
    .command('infer')
    .description("write the class of each image to a JSON file, as MindSpore's infer.py does")
    .addArgument(imagesArgument());
  addNetworkOptions(command);
  command
    .option('-o, --output <file>', 'the file to write', endsIn('.json'), 'predictions.json')
    .option('--rows', 'write the rows of classify --json instead of a map from path to class number')
    .option('-k, --top-k <k>', 'classes per row, with --rows', parsePositiveInteger, 5)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(infer);
}

async function infer(images: string[], flags: Flags, command: Command): Promise<void> {
  const {checkpoint, output, rows: wantsRows, topK, json, ...load} = takePreprocessing(flags);
  const rows: object[] = [];
  const classes = new Map<string, number>();
  let [count, failed] = [0, 0];
  const checkpointFile = needCheckpoint(checkpoint, command);
  if (!wantsRows) refuseIgnored(command, ['topK'], "needs '--rows'");
  await checkReplaceable(output);
  {
    await using model = await loadModel(checkpointFile, load);
    for await (const row of model.score(openImages(images), {topK})) {
      count++;
      if (wantsRows) rows.push(jsonRow(row));
      if ('error' in row) {
        failed++;
        process.exitCode = exitCode.rowsFailed;
        warnFailed(row);
      } else {
        const {index} = row.topK[0]!;
        classes.set(row.id, index);
        if (!json) await print(oneLine(`${row.id} (class: ${index})`));
      }
    }
  }
  const text = wantsRows
    ? listed('[]', rows, row => JSON.stringify(row, null, 1).replaceAll('\n', '\n '))
    : listed('{}', classes, ([path, index]) => `${JSON.stringify(path)}: ${index}`);
  await replaceFile(output, file => appendTexts(file, text));
  if (json) await printJson({output, images: count, failed});
}

/** A JSON array or object in parts, as Python's `json.dump(..., indent=1)` lays it out. */
function* listed<Item>(
  brackets: '[]' | '{}',
  items: Iterable<Item>,
  textOf: (item: Item) => string,
): Generator<string> {
  const [open, close] = brackets;
  yield open!;
  let end = close!;
  let separator = '\n ';
  for (const item of items) {
    yield separator + textOf(item);
    separator = ',\n ';
    end = `\n${close}`;
  }
  yield end;
}
