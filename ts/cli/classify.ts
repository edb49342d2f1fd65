import type {Command} from 'commander';
import type {DeviceList, DeviceName, Precision} from '../device.ts';
import {RepVGGError} from '../errors.ts';
import type {Form} from '../network.ts';
import type {Prediction} from '../predictions.ts';
import {loadModel} from './load.ts';
import {
  architectureOption,
  batchSizeOption,
  deviceOption,
  epsOption,
  exitCode,
  formOption,
  jsonOption,
  type PreprocessingFlags,
  positiveInteger,
  precisionOption,
  preprocessingOptions,
  takePreprocessing,
  threadsOption,
} from './options.ts';
import {oneLine, print, printJson} from './output.ts';

interface Flags extends PreprocessingFlags {
  checkpoint?: string;
  architecture?: string;
  eps?: number;
  labels?: string;
  topK: number;
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  batchSize: number;
  threads?: number;
  json?: true;
}

const examples = `
Examples:
  $ repvgg classify --checkpoint RepVGG-A0-train.pth cat.jpg
  $ repvgg classify --checkpoint RepVGG-A0-train.pth --top-k 1 --json cat.jpg dog.jpg > labels.ndjson`;

export function addClassify(program: Command): void {
  const command = program
    .command('classify')
    .description('print the likeliest classes of each image, in order, as batches finish')
    .argument('<images...>', 'image files (JPEG, PNG, WebP, AVIF, TIFF, GIF)')
    // Not requiredOption(): commander would ask for it before it looks at misspelt ones.
    .option('-c, --checkpoint <file>', 'a checkpoint in train or deploy form, or "digits"')
    .addOption(architectureOption())
    .addOption(epsOption())
    .option('--labels <file>', 'one label a line, or a JSON array (default: ImageNet for 1000 classes)')
    .option('-k, --top-k <k>', 'classes to print for each image', positiveInteger, 5)
    .addOption(formOption())
    .addOption(deviceOption())
    .addOption(precisionOption());
  for (const option of preprocessingOptions()) command.addOption(option);
  command
    .addOption(batchSizeOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(classify);
}

async function classify(images: string[], flags: Flags, command: Command): Promise<void> {
  const {checkpoint, topK, json, ...load} = takePreprocessing(flags);
  if (checkpoint === undefined)
    command.error("error: required option '-c, --checkpoint <file>' not specified");
  await using model = await loadModel(checkpoint, load);
  const run = (first: number): Promise<(Prediction[] | RepVGGError)[]> => {
    const results = model.classifySettled(images.slice(first, first + load.batchSize), {topK});
    results.catch(() => {}); // Seen when it is awaited, if it ever is.
    return results;
  };
  let ahead = run(0);
  for (let first = 0; first < images.length; first += load.batchSize) {
    const current = ahead;
    ahead = run(first + load.batchSize); // Decodes while the current batch is computed.
    for (const [i, result] of (await current).entries()) {
      const id = images[first + i]!;
      await (json ? printJson(jsonRow(id, result)) : print(oneLine(textRow(id, result))));
      if (result instanceof RepVGGError) process.exitCode = exitCode.rowsFailed;
    }
  }
}

function jsonRow(id: string, result: Prediction[] | RepVGGError): object {
  if (!(result instanceof RepVGGError)) return {id, topK: result};
  return {id, error: {code: result.code, message: result.message}};
}

function textRow(id: string, result: Prediction[] | RepVGGError): string {
  if (result instanceof RepVGGError) return `${id}: error: ${result.message} (${result.code})`;
  return `${id}: ${result.map(({label, score}) => `${label} ${(100 * score).toFixed(1)}%`).join(' | ')}`;
}
