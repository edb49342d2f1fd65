import {join, resolve} from 'node:path';
import {type Command, InvalidArgumentError, Option} from 'commander';
import {compareReports, readReport} from '../bench/compare.ts';
import {peerNames, type Stage, stages} from '../bench/results.ts';
import {checkAgain} from './bench_check.ts';
import {printComparison, printReport} from './bench_output.ts';
import {
  type BenchFlags,
  defaultSeconds,
  pageName,
  prepare,
  prepareFolder,
  resultsName,
  writeReport,
} from './bench_run.ts';
import {Interruption} from './interruption.ts';
import {
  cropOption,
  deviceOption,
  formOption,
  jsonOption,
  list,
  parsePositiveInteger,
  parsePositiveNumber,
  precisionOption,
  threadsOption,
} from './options.ts';
import {print, printJson} from './output.ts';

const examples = `
Examples:
  $ repvgg bench --models A0 --batch 1,8 --stage engine --seconds 0.5
  $ repvgg bench --models digits --crop 64 --batch 8 --seconds 0.3
  $ repvgg bench --models A0 --batch 1 --seconds 0.3 --json > before.json
  $ repvgg bench --compare before.json repvgg-bench/results.json`;

/** What earlier results decide for --check. */
const remeasured = ['models', 'crop', 'batch', 'stage', 'peers', 'form', 'device', 'precision', 'threads'];

export function addBench(program: Command): void {
  program
    .command('bench')
    .description('measure images per second and latency on this machine, with synthetic images')
    .addOption(
      new Option(
        '--models <names>',
        'variants, or checkpoints as of other commands, separated by commas; or "all" variants',
      )
        .argParser(list)
        .default(['A0', 'A2'], 'A0,A2'),
    )
    .addOption(
      new Option('--batch <sizes>', 'batch sizes separated by commas')
        .argParser(sizes)
        .default([1, 8, 32], '1,8,32'),
    )
    .addOption(
      new Option('--stage <names>', 'what to time, separated by commas: engine, pipeline, decode, preprocess')
        .argParser(stageList)
        .default(stages, 'all'),
    )
    .addOption(
      new Option('--peers [names]', `also measure other runtimes (${peerNames.join(', ')})`).argParser(list),
    )
    .addOption(cropOption())
    .addOption(formOption())
    .addOption(deviceOption())
    .addOption(precisionOption())
    .addOption(threadsOption())
    .option(
      '--seconds <n>',
      `time to measure each rate, and half of it each latency (default: ${defaultSeconds})`,
      parsePositiveNumber,
    )
    .option('--layers', 'report the time and roofline of each layer')
    .addOption(
      new Option(
        '--compare <files...>',
        'compare the results of two earlier runs instead of measuring',
      ).conflicts([...remeasured, 'check', 'seconds', 'layers', 'output']),
    )
    .addOption(
      new Option(
        '--check <file>',
        'measure the cases of earlier results again; exit with 1 if one became worse',
      ).conflicts(remeasured),
    )
    .option('--output <folder>', 'folder for report.html and results.json', 'repvgg-bench')
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(bench);
}

function sizes(value: string): number[] {
  return list(value).map(parsePositiveInteger);
}

function stageList(value: string): Stage[] {
  const names = list(value) as Stage[];
  if (names.some(name => !stages.includes(name)))
    throw new InvalidArgumentError(`Expected one or more of ${stages.join(', ')}.`);
  return names;
}

async function bench(flags: BenchFlags, command: Command): Promise<void> {
  const {compare, check, output, json} = flags;
  if (compare) {
    if (compare.length !== 2) command.error("error: option '--compare' takes two files");
    const [before, after] = compare as [string, string];
    const comparison = compareReports(await readReport(before), await readReport(after));
    return json ? printJson(comparison) : printComparison(before, after, comparison);
  }
  if (check !== undefined) {
    if (resolve(check) === resolve(output, resultsName))
      command.error("error: option '--check' needs a file that --output does not overwrite: copy it first");
    return await checkAgain(await readReport(check), flags);
  }
  const measure = await prepare(flags);
  await prepareFolder(output);
  using interruption = new Interruption();
  const report = await measure(interruption.stop);
  if (interruption.stop.aborted) {
    process.exitCode = interruption.exitCode;
    if (report.results.length === 0) return;
  }
  try {
    await writeReport(output, report);
  } finally {
    // Results that took minutes to measure are shown even if they cannot be written.
    if (json) await printJson(report);
    else await printReport(report);
  }
  if (!json) await print(`charts in ${join(output, pageName)}`);
}
