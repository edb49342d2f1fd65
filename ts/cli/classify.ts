import type {Command} from 'commander';
import type {ScoreRow} from '../scoring/score_row.ts';
import {imagesArgument, openImages} from './images.ts';
import {loadModel} from './load.ts';
import {
  addNetworkOptions,
  exitCode,
  jsonOption,
  type NetworkFlags,
  needCheckpoint,
  parsePositiveInteger,
  takePreprocessing,
} from './options.ts';
import {oneLine, print, printJson} from './output.ts';

interface Flags extends NetworkFlags {
  topK: number;
  json?: true;
}

const examples = `
Examples:
  $ repvgg classify --checkpoint RepVGG-A0-train.pth cat.jpg
  $ repvgg classify --checkpoint RepVGG-A0-train.pth --top-k 1 --json cat.jpg dog.jpg > labels.ndjson`;

export function addClassify(program: Command): void {
  const command = program
    .command('classify')
    .description('print the likeliest classes of each image, in order')
    .addArgument(imagesArgument());
  addNetworkOptions(command);
  command
    .option('-k, --top-k <k>', 'classes to print for each image', parsePositiveInteger, 5)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(classify);
}

async function classify(images: string[], flags: Flags, command: Command): Promise<void> {
  const {checkpoint, topK, json, ...load} = takePreprocessing(flags);
  await using model = await loadModel(needCheckpoint(checkpoint, command), load);
  for await (const row of model.score(openImages(images), {topK})) {
    await (json ? printJson(jsonRow(row)) : print(oneLine(textRow(row))));
    if ('error' in row) process.exitCode = exitCode.rowsFailed;
  }
}

export function jsonRow(row: ScoreRow<'labels'>): object {
  if ('error' in row) return {id: row.id, error: row.error};
  return {id: row.id, topK: row.topK};
}

function textRow(row: ScoreRow<'labels'>): string {
  if ('error' in row) return `${row.id}: error: ${row.error.message} (${row.error.code})`;
  return `${row.id}: ${row.topK.map(({label, score}) => `${label} ${(100 * score).toFixed(1)}%`).join(' | ')}`;
}
