import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import type {Command} from 'commander';
import type {Architecture} from '../architecture.ts';
import {digits} from '../digits.ts';
import type {LoadOptions} from '../loading/load_network.ts';
import type {RepVGG} from '../model.ts';
import type {Device, DeviceList, DeviceName} from '../native/device.ts';
import {layerTable} from '../statistics.ts';
import {differenceOf} from '../support/difference.ts';
import {formatCount} from '../support/plain_text.ts';
import {loadModel} from './load.ts';
import {deviceOption, jsonOption, threadsOption} from './options.ts';
import {print, printJson, printTable, small} from './output.ts';
import {hasColour, picture} from './picture.ts';

interface Flags {
  device: DeviceName | DeviceList;
  threads?: number;
  json?: true;
}

/** What --json prints. */
interface Result {
  architecture: Architecture;
  device: Device;
  images: number;
  /** This and the next two: before and after fusion. */
  parameters: Pair<number>;
  correct: Pair<number>;
  accuracy: Pair<number>;
  largestLogitDifference: number;
  /** From PNG file to label, fused. */
  imagesPerSecond: number;
  /** Eight images, the misclassified ones first. */
  predictions: Row[];
}

interface Pair<T> {
  before: T;
  after: T;
}

interface Row {
  file: string;
  truth: string;
  label: string;
  score: number;
}

const rowsShown = 8;

const examples = `
Examples:
  $ repvgg demo
  $ repvgg demo --threads 1 --json`;

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('read handwritten digits with the bundled network, before and after fusion')
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(demo);
}

async function demo({json, ...load}: Flags): Promise<void> {
  const result = await readDigits(load);
  await (json ? printJson(result) : printResult(result));
}

async function readDigits(load: LoadOptions): Promise<Result> {
  const names = (await readdir(digits.images)).sort();
  const files = names.map(name => join(digits.images, name));
  await using train = await loadModel('digits', {...load, form: 'train'});
  await using deploy = await loadModel('digits', {...load, form: 'deploy'});
  const expected = await train.logits(files);
  const differences = (await deploy.logits(files)).map((logits, i) => differenceOf(logits, expected[i]!));
  const before = await classify(train, names, files);
  const start = performance.now();
  const after = await classify(deploy, names, files);
  const seconds = (performance.now() - start) / 1000;

  const {architecture, device, preprocessing} = deploy;
  const {total} = layerTable(architecture, {height: preprocessing.crop, width: preprocessing.crop});
  const images = names.length;
  const correct = {before: countRight(before), after: countRight(after)};
  return {
    architecture,
    device,
    images,
    parameters: {before: total.trainParameters, after: total.deployParameters},
    correct,
    accuracy: {before: correct.before / images, after: correct.after / images},
    largestLogitDifference: Math.max(...differences.map(({largest}) => largest)),
    imagesPerSecond: Math.round(images / seconds),
    predictions: after.toSorted((a, b) => Number(isRight(a)) - Number(isRight(b))).slice(0, rowsShown),
  };
}

async function classify(model: RepVGG, names: string[], files: string[]): Promise<Row[]> {
  const predictions = await model.classify(files, {topK: 1});
  return predictions.map(([top], i) => {
    const file = names[i]!;
    const truth = file.slice(file.indexOf('-') + 1, file.indexOf('.'));
    return {file, truth, label: top!.label, score: top!.score};
  });
}

function isRight({label, truth}: Row): boolean {
  return label === truth;
}

function countRight(rows: Row[]): number {
  return rows.filter(isRight).length;
}

async function printResult(result: Result): Promise<void> {
  const {architecture, device, images, parameters, correct, accuracy} = result;
  const {numBlocks} = architecture;
  const blocks = numBlocks.reduce((a, b) => a + b, 1);
  const score = (part: keyof Pair<number>): string =>
    `${(100 * accuracy[part]).toFixed(2)} % (${correct[part]} of ${images})`;
  await print(
    `A RepVGG with ${blocks} blocks reads ${images} handwritten digits that it was not trained on,`,
  );
  await print(
    `first with its training branches (${formatCount(parameters.before)} parameters), then fused (${formatCount(parameters.after)}).\n`,
  );
  await printTable('ll', [
    ['accuracy before fusion', score('before')],
    ['accuracy after fusion', score('after')],
    ['largest logit difference', small(result.largestLogitDifference)],
    [
      `speed on ${device.name}`,
      `${formatCount(result.imagesPerSecond)} images/s from PNG file to label, fused`,
    ],
  ]);
  for (let i = 0; i < result.predictions.length; i += 2) {
    await print();
    const cards = await Promise.all(result.predictions.slice(i, i + 2).map(card));
    const height = Math.max(...cards.map(lines => lines.length));
    for (let line = 0; line < height; line++)
      await print(
        cards
          .map(lines => lines[line] ?? '')
          .join('  ')
          .trimEnd(),
      );
  }
}

/** An image with its prediction beside it. */
async function card(row: Row): Promise<string[]> {
  const {decodeImage} = await import('../images/images.ts'); // with sharp
  const drawn = picture(await decodeImage(join(digits.images, row.file), row.file), hasColour());
  const notes = [
    `reads ${row.label}`,
    `score ${row.score.toFixed(3)}`,
    `is ${row.truth}${isRight(row) ? '' : '  <- wrong'}`,
    row.file,
  ];
  return drawn.map((line, i) => `  ${line}  ${(notes[i] ?? '').padEnd(16)}`);
}
