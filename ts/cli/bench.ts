import {join, resolve} from 'node:path';
import {type Command, InvalidArgumentError, Option} from 'commander';
import {betterOf, checkReports, compareReports, isCheckable, readReport} from '../bench/compare.ts';
import {
  type BenchReport,
  type BenchResult,
  caseKey,
  type PeerName,
  peerNames,
  type Stage,
  stages,
} from '../bench/results.ts';
import {RepVGGError} from '../errors.ts';
import type {DeviceList, DeviceName, Precision} from '../native/device.ts';
import type {Form} from '../network.ts';
import type {PreprocessingOptions} from '../preprocessing.ts';
import {makeFolder} from '../support/make_folder.ts';
import {append, checkReplaceable, fileWriteError, replaceFile} from '../support/replace_file.ts';
import {printCheck, printComparison, printReport, printWhyNotCounted} from './bench_output.ts';
import {Interruption} from './interruption.ts';
import {
  cropOption,
  deviceOption,
  exitCode,
  formOption,
  jsonOption,
  list,
  parseDevice,
  parsePositiveInteger,
  parsePositiveNumber,
  precisionOption,
  threadsOption,
  toPreprocessing,
} from './options.ts';
import {print, printJson} from './output.ts';
import {downloadProgress} from './progress.ts';
import {version} from './version.ts';

interface Flags {
  models: string[];
  crop?: number;
  batch: number[];
  stage: readonly Stage[];
  peers?: string[] | true;
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  threads?: number;
  seconds?: number;
  layers?: true;
  output: string;
  compare?: string[];
  check?: string;
  json?: true;
}

const examples = `
Examples:
  $ repvgg bench --models A0 --batch 1,8 --stage engine --seconds 0.5
  $ repvgg bench --models digits --crop 64 --batch 8 --seconds 0.3
  $ repvgg bench --models A0 --batch 1 --seconds 0.3 --json > before.json
  $ repvgg bench --compare before.json repvgg-bench/results.json`;

const resultsName = 'results.json';
const pageName = 'report.html';
const defaultSeconds = 3;
/** Measurements by --check before a regression is reported. */
const mostAttempts = 3;
/** Without --seconds, no case starts after this, so that the run ends within two minutes on any machine. */
const defaultLimitSeconds = 80;

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

function distinct<Value>(values: readonly Value[]): Value[] {
  return [...new Set(values)];
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

async function bench(flags: Flags, command: Command): Promise<void> {
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

/** Measures the cases of earlier results again. Regressions are measured twice more, because noise passes and slowness stays. */
async function checkAgain(baseline: BenchReport, flags: Flags): Promise<void> {
  const {output, json} = flags;
  const measure = await prepare({...flags, ...casesOf(baseline)}, cropOfEach(baseline));
  await prepareFolder(output);
  using interruption = new Interruption();
  const {stop} = interruption;
  const report = await measure(stop);
  let checked = checkReports(baseline, report);
  try {
    await writeReport(output, report);
    for (let attempt = 1; attempt < mostAttempts && !stop.aborted; attempt++) {
      const worse = new Set(checked.filter(one => !one.passed && one.after !== null).map(({key}) => key));
      if (worse.size === 0) break;
      const results = baseline.results.filter(result => worse.has(caseKey(result)));
      const again = await prepare({...flags, ...casesOf(baseline, results)}, cropOfEach(baseline));
      checked = betterOf(checked, checkReports({...baseline, results}, await again(stop)));
    }
  } finally {
    if (stop.aborted) process.exitCode = interruption.exitCode;
    else if (checked.some(({passed}) => !passed)) process.exitCode = exitCode.rowsFailed;
    if (json) await printJson(checked);
    else await printCheck(checked, report.skipped);
  }
  const counted = ({results}: BenchReport): boolean => results.some(one => one.instructionsPerImage);
  if (!json && counted(baseline) && !counted(report)) await printWhyNotCounted();
}

/** Fails before anything is measured if the files could not be written. */
async function prepareFolder(folder: string): Promise<void> {
  try {
    makeFolder(folder);
  } catch (error) {
    throw fileWriteError(folder, error);
  }
  for (const name of [resultsName, pageName]) await checkReplaceable(join(folder, name));
}

async function writeReport(folder: string, report: BenchReport): Promise<void> {
  const {renderReport} = await import('../bench/report.ts');
  const write = (name: string, text: string): Promise<void> =>
    replaceFile(join(folder, name), file => append(file, Buffer.from(text)));
  await write(resultsName, `${JSON.stringify(report, null, 2)}\n`);
  await write(pageName, renderReport(report));
}

/** Resolves the options and returns a function that measures. */
async function prepare(
  flags: Flags,
  crops: ReadonlyMap<string, number> = new Map(),
): Promise<(stop: AbortSignal) => Promise<BenchReport>> {
  const {
    models,
    crop,
    batch,
    stage,
    peers,
    layers = false,
    form,
    device,
    precision,
    threads,
    seconds,
  } = flags;
  const limited = seconds === undefined && peers === undefined && flags.check === undefined;
  const {planBench} = await import('../bench/cases.ts');
  const {runBench} = await import('../bench/run.ts');
  const {native} = await import('../native/addon.ts');
  const preprocessing = (model: string): PreprocessingOptions | undefined => {
    const size = crops.get(model) ?? crop;
    return size === undefined ? undefined : toPreprocessing({crop: size});
  };
  const selection = {
    models,
    preprocessing,
    batches: batch.toSorted((a, b) => a - b),
    stages: stage,
    peers: peers === true ? peerNames : ((peers ?? []) as PeerName[]),
    form,
    device,
    precision,
    threads: threads ?? native().cpuInfo().threads,
  };
  const plan = await planBench(selection, downloadProgress);
  const options = {
    layers,
    seconds: seconds ?? defaultSeconds,
    limitSeconds: limited ? defaultLimitSeconds : Infinity,
    version,
    countInstructions: native().countInstructions,
    onProgress(message: string) {
      if (process.stderr.isTTY) process.stderr.write(`measuring: ${message}\n`);
    },
  };
  return stop => runBench(plan, {...options, stop});
}

/** The sizes of the inputs, which a checkpoint may no longer have as its own. */
function cropOfEach({results}: BenchReport): Map<string, number> {
  return new Map(results.flatMap(({model, crop}) => (model && crop ? [[model, crop]] : [])));
}

/** The options that measure the checkable cases of `results`, a part of `baseline`, again. */
function casesOf(baseline: BenchReport, results: readonly BenchResult[] = baseline.results): Partial<Flags> {
  const cases = results.filter(isCheckable);
  const own = baseline.results.find(({runner, model}) => runner === 'repvgg' && model !== null);
  if (!own || cases.length === 0) {
    const message =
      'Expected results of networks for --check but received none: other results have no ratios to check.';
    throw new RepVGGError('ERR_INVALID_ARGUMENT', message);
  }
  const peers = Object.keys(baseline.peers);
  return {
    models: distinct(cases.map(({model}) => model!)),
    batch: distinct(cases.map(({batch}) => batch)),
    stage: distinct(cases.map(({stage}) => stage)),
    threads: baseline.limits.threads,
    device: parseDevice(own.device),
    form: own.form,
    precision: own.precision as Precision,
    ...(peers.length > 0 && {peers}),
  };
}
