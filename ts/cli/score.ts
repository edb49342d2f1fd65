import {type Command, Option} from 'commander';
import type {RepVGG} from '../model.ts';
import type {ScoreOptions, ScoreSummary} from '../scoring/score.ts';
import type {SourceOptions} from '../sources/options.ts';
import {formatCount} from '../support/plain_text.ts';
import {Interruption} from './interruption.ts';
import {loadModel} from './load.ts';
import {
  addNetworkOptions,
  addSourceOptions,
  exitCode,
  labelledFormats,
  list,
  type NetworkFlags,
  needCheckpoint,
  parsePositiveInteger,
  type SourceFlags,
  takePreprocessing,
} from './options.ts';
import {oneLine, print} from './output.ts';
import {ScoreProgress} from './score_progress.ts';
import {ScoreWarnings} from './score_warnings.ts';

interface Flags extends NetworkFlags, SourceFlags {
  output: string;
  resume?: true;
  topK?: number;
  embed?: true;
  logits?: true;
  fields?: string[];
  timing?: true;
  idColumn?: string;
  root?: string;
  concurrency?: number;
  fetchTimeout?: number;
}

const examples = `
The source is a folder, a glob in quotes, an image, a list of paths (.txt, .lst), a table (.ndjson, .jsonl, .csv, .tsv, .parquet),
a tar or WebDataset shard (.tar, .tar.gz, .tgz), or "-" for standard input. The output is NDJSON (.ndjson, .jsonl), CSV (.csv),
Parquet (.parquet) or Arrow IPC (.arrow, .feather); on standard output it is NDJSON.

Examples:
  $ repvgg score photos --checkpoint RepVGG-A0-train.pth --output labels.parquet --resume
  $ repvgg score 'shards/*.tar' --checkpoint RepVGG-A0-train.pth --embed --output embeddings.parquet
  $ find photos -name '*.jpg' | repvgg score - --checkpoint RepVGG-A0-train.pth --top-k 1 > labels.ndjson`;

export function addScore(program: Command): void {
  const command = program
    .command('score')
    .description('score every image of a folder, table, tar or stream into a file; can be resumed')
    .argument('<source>', 'where the images are (see below)');
  addNetworkOptions(command);
  command
    .option('-o, --output <file>', 'file to write the rows to; "-" is standard output', '-')
    .option('--resume', 'continue an earlier run; do nothing if the output is complete')
    .option('-k, --top-k <k>', 'classes per row (default: 5)', parsePositiveInteger)
    .addOption(
      new Option('--embed', 'write the pooled features (embeddings) instead of classes').conflicts([
        'logits',
        'topK',
      ]),
    )
    .addOption(new Option('--logits', 'write the logits instead of classes').conflicts('topK'))
    .option(
      '--fields <names>',
      'fields of the source to copy into the rows, separated by commas, such as "label"',
      list,
    )
    .option('--timing', 'add the time that each image took');
  addSourceOptions(command, ['image', ...labelledFormats]);
  command
    .option('--id-column <name>', 'column of the ids (default: id, else the path)')
    .option('--root <folder>', "folder that relative paths start from (default: the list's or table's own)")
    .option(
      '--concurrency <n>',
      'images to read and decode at the same time (default: twice the number of cores)',
      parsePositiveInteger,
    )
    .option(
      '--fetch-timeout <ms>',
      'time limit for the image of a URL (default: 30000)',
      parsePositiveInteger,
    )
    .addHelpText('after', examples)
    .action(score);
}

async function score(source: string, flags: Flags, command: Command): Promise<void> {
  const {
    checkpoint,
    output,
    resume,
    topK,
    embed,
    logits,
    fields,
    timing,
    concurrency,
    fetchTimeout,
    ...rest
  } = takePreprocessing(flags);
  const {format, imageColumn, idColumn, labelColumn, root, ...load} = rest;
  const checkpointFile = needCheckpoint(checkpoint, command);
  if (output === '-' && resume) command.error("error: option '--resume' needs '-o, --output <file>'");
  if (output !== '-') await checkOutput(output);
  const sourceOptions = {format, imageColumn, idColumn, labelColumn, root, fields: fields ?? []};
  const scoreOptions: ScoreOptions = {
    output: embed ? 'embeddings' : logits ? 'logits' : 'labels',
    ...{topK, fields, timing, concurrency, fetchTimeout},
  };
  await using model = await loadModel(checkpointFile, load);
  const job = {source, output, resume: resume === true};
  await run(model, job, sourceOptions, scoreOptions);
}

interface Job {
  source: string;
  output: string;
  resume: boolean;
}

async function run(
  model: RepVGG,
  {source, output, resume}: Job,
  sourceOptions: SourceOptions,
  scoreOptions: ScoreOptions,
): Promise<void> {
  const {openSource} = await import('../sources/source.ts');
  const {scoreToFile} = await import('../score_file.ts');
  const {untilStopped} = await import('../support/cancellation.ts');
  const {toJsonLine} = await import('../sinks/lines.ts');
  using interruption = new Interruption();
  using progress = new ScoreProgress(source, sourceOptions, output);
  const records = openSource(source, sourceOptions);
  const warnings = new ScoreWarnings(source);
  const onProgress = (summary: Readonly<ScoreSummary>): void => {
    progress.show(summary);
    warnings.during(summary);
  };
  let complete = true;
  let failed = 0;
  if (output === '-') {
    const scores = model.score(untilStopped(records, interruption.stop), {...scoreOptions, uniqueIds: true});
    for await (const row of scores) {
      await print(toJsonLine(row).trimEnd());
      onProgress(scores.summary);
    }
    complete = !interruption.stop.aborted;
    failed = scores.summary.failed;
    if (complete) warnings.atEnd(scores.summary);
  } else {
    const settings = {source, ...sourceOptions};
    const options = {...scoreOptions, resume, settings, stop: interruption.stop, onProgress};
    const result = await scoreToFile(model, records, output, options);
    ({complete, failedInFile: failed} = result);
    if (result.alreadyComplete) {
      console.error(
        oneLine(`repvgg: ${output} is already complete: nothing was done (omit --resume to write it again).`),
      );
    } else if (complete) warnings.atEnd(result);
  }
  if (source === '-') process.stdin.destroy(); // Otherwise the process would wait for its end.
  if (!complete) interruption.leave();
  else if (failed > 0) {
    // Without a terminal, nothing else explains the exit code.
    console.error(
      oneLine(`repvgg: rows with an error${output === '-' ? '' : ` in ${output}`}: ${formatCount(failed)}`),
    );
    process.exitCode = exitCode.rowsFailed;
  }
}

/** Fails before the model is loaded, which can take long. */
async function checkOutput(output: string): Promise<void> {
  const {sinkFormat} = await import('../sinks/formats.ts');
  const {checkReplaceable} = await import('../support/replace_file.ts');
  sinkFormat(output);
  await checkReplaceable(output);
}
