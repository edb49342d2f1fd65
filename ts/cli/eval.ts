import {basename} from 'node:path';
import {type Command, Option} from 'commander';
import type {DatasetOptions} from '../evaluation/dataset.ts';
import type {Evaluation, Progress} from '../evaluation/evaluate.ts';
import {
  type Averages,
  type ClassMetrics,
  classMetrics,
  macroAverages,
  occurs,
} from '../evaluation/per_class.ts';
import type {LoadOptions} from '../loading/load_network.ts';
import type {RepVGG} from '../model.ts';
import {append, checkReplaceable, replaceFile} from '../support/replace_file.ts';
import {loadModel} from './load.ts';
import {
  addNetworkOptions,
  addSourceOptions,
  endsIn,
  exitCode,
  jsonOption,
  labelledFormats,
  type NetworkFlags,
  needCheckpoint,
  type SourceFlags,
  takePreprocessing,
} from './options.ts';
import {oneLine, print, printJson, printTable, small, warnFailed} from './output.ts';
import {downloadProgress, endProgress, showProgress} from './progress.ts';

interface Flags extends NetworkFlags, SourceFlags {
  groundTruth?: string;
  validLabels?: string;
  realLabels?: string;
  perClass?: true;
  confusion?: string;
  compare?: true;
  json?: true;
}

const examples = `
Examples:
  $ repvgg eval digits --checkpoint digits --form train
  $ repvgg eval digits --checkpoint digits --compare`;

/** The official script prints a line every ten batches. */
const linesEvery = 10;

export function addEval(program: Command): void {
  const command = program
    .command('eval')
    .description('measure the accuracy of a network on labelled images, as the official test.py does')
    .argument(
      '<data>',
      'a folder with one subfolder per class (or with val/ or train/ that has them), a tar or table with labels, or "digits"',
    );
  addNetworkOptions(command, {batchSize: 128});
  addSourceOptions(command, labelledFormats);
  command
    .option(
      '--ground-truth <file>',
      'list of synsets of the ILSVRC 2012 validation images, if these are not in class folders',
    )
    .option(
      '--valid-labels <file>',
      'list of the only classes that count, by number, synset or name, as for parts of ImageNet',
    )
    .option(
      '--real-labels <file>',
      'also measure by all classes that are right for each image: real.json of "Are we done with ImageNet?"',
    )
    .option('--per-class', 'print precision, recall and F1 of each class that occurs')
    .option('--confusion <file>', 'draw the confusion matrix as SVG', endsIn('.svg'))
    .addOption(
      new Option(
        '--compare',
        'compare the train form and the fused form, in fp32 and in half precision',
      ).conflicts(['validLabels', 'realLabels', 'perClass', 'confusion', 'form', 'precision']),
    )
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(evalCommand);
}

async function evalCommand(data: string, flags: Flags, command: Command): Promise<void> {
  const {format, imageColumn, labelColumn, groundTruth, validLabels, ...rest} = takePreprocessing(flags);
  const {checkpoint: given, realLabels, perClass, confusion, compare, json, ...load} = rest;
  const checkpoint = needCheckpoint(given, command);
  const dataset = {format, imageColumn, labelColumn, groundTruth, validLabels};
  if (compare) return compareCommand(data, checkpoint, load, dataset, json);
  if (confusion !== undefined) await checkReplaceable(confusion);
  const {evaluation, labels, ...network} = await run(data, checkpoint, load, dataset, realLabels, json);
  const {confusion: matrix, ...numbers} = evaluation;
  if (numbers.failed.length > 0) process.exitCode = exitCode.rowsFailed;
  const {confusedPairs, drawConfusion} = await import('../evaluation/confusion.ts');
  const classes = classMetrics(matrix).map((metrics, i) => ({label: labels[i]!.label, ...metrics}));
  const macro = macroAverages(classes);
  if (json) await printJson({...network, ...numbers, macro, classes, confused: confusedPairs(matrix)});
  else {
    for (const row of numbers.failed) warnFailed(row);
    await print(` * Acc@1 ${numbers.top1.toFixed(3)} Acc@5 ${numbers.top5.toFixed(3)}`);
    const {real} = numbers;
    if (real)
      await print(
        ` * ReaL Acc@1 ${real.top1.toFixed(3)} Acc@5 ${real.top5.toFixed(3)} (${real.images} images)`,
      );
    if (perClass) await printClasses(classes, macro);
  }
  if (confusion === undefined) return;
  const caption = `${basename(checkpoint)} on ${basename(data)}: ${numbers.top1.toFixed(3)} % of ${numbers.images} images`;
  const picture = Buffer.from(drawConfusion(matrix, labels, caption));
  await replaceFile(confusion, file => append(file, picture));
}

async function run(
  data: string,
  checkpoint: string,
  load: LoadOptions,
  datasetOptions: DatasetOptions,
  realLabels: string | undefined,
  json: true | undefined,
): Promise<
  Pick<RepVGG, 'architecture' | 'form' | 'device' | 'precision' | 'preprocessing' | 'labels'> & {
    evaluation: Evaluation;
  }
> {
  const {openDataset} = await import('../evaluation/dataset.ts');
  const {evaluate} = await import('../evaluation/evaluate.ts');
  const {readRealLabels} = await import('../evaluation/real_labels.ts');
  await using model = await loadModel(checkpoint, load);
  const {architecture, form, device, precision, preprocessing, labels} = model;
  const dataset = await openDataset(data, labels, datasetOptions);
  const evaluation = await evaluate(model, dataset, {
    realLabels: realLabels === undefined ? undefined : await readRealLabels(realLabels, labels.length),
    onProgress: json ? undefined : printProgress,
  });
  return {architecture, form, device, precision, preprocessing, labels, evaluation};
}

async function printClasses(
  classes: readonly (ClassMetrics & {label: string})[],
  macro: Averages,
): Promise<void> {
  const percentages = ({precision, recall, f1}: Averages): string[] =>
    [precision, recall, f1].map(value => value.toFixed(3));
  await print('');
  await printTable('lrrrr', [
    ['class', 'images', 'precision', 'recall', 'F1'],
    ...classes.filter(occurs).map(one => [oneLine(one.label), String(one.images), ...percentages(one)]),
    ['mean', '', ...percentages(macro)],
  ]);
}

/** Prints exactly the lines of the official script. */
async function printProgress({batch, batches, time, loss, top1, top5}: Progress): Promise<void> {
  if (batch % linesEvery !== 0) return;
  const total = batches === undefined ? '?' : String(batches);
  const entries = [
    `Test: [${String(batch).padStart(total.length)}/${total}]`,
    `Time ${fixed(time.value, 6, 3)} (${fixed(time.average, 6, 3)})`,
    `Loss ${exponential(loss.value)} (${exponential(loss.average)})`,
    `Acc@1 ${fixed(top1.value, 6, 2)} (${fixed(top1.average, 6, 2)})`,
    `Acc@5 ${fixed(top5.value, 6, 2)} (${fixed(top5.average, 6, 2)})`,
  ];
  await print(entries.join('\t'));
}

/** Python's %6.3f. */
function fixed(value: number, width: number, digits: number): string {
  return value.toFixed(digits).padStart(width);
}

/** Python's %.4e, whose exponent has two digits. */
function exponential(value: number): string {
  return value.toExponential(4).replace(/e([+-])(\d)$/, 'e$10$2');
}

async function compareCommand(
  data: string,
  checkpoint: string,
  load: LoadOptions,
  dataset: DatasetOptions,
  json: true | undefined,
): Promise<void> {
  const {compareForms} = await import('../evaluation/compare.ts');
  const options = {...load, dataset, onProgress: downloadProgress(checkpoint)};
  const comparison = await compareForms(checkpoint, data, options, images =>
    showProgress(`${images} images`),
  );
  endProgress();
  const {images, runs, failed, device} = comparison;
  if (failed.length > 0) process.exitCode = exitCode.rowsFailed;
  if (json) return printJson(comparison);
  for (const row of failed) warnFailed(row);
  await print(`${images} images on ${device.name}; the other rows are compared with the first\n`);
  await printTable('llrrrrr', [
    ['form', 'precision', 'Acc@1', 'Acc@5', 'same top-1', 'largest logit difference', 'images/s'],
    ...runs.map(({form, precision, top1, top5, agreement, largestLogitDifference, imagesPerSecond}, i) => [
      form,
      precision,
      top1.toFixed(3),
      top5.toFixed(3),
      i === 0 ? '' : `${agreement.toFixed(2)} %`,
      i === 0 ? '' : small(largestLogitDifference),
      imagesPerSecond.toFixed(1),
    ]),
  ]);
}
