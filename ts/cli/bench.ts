import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {type Command, InvalidArgumentError, Option} from 'commander';
import {type Checked, checkReports, compareReports, readReport} from '../bench/compare.ts';
import {type BenchReport, type BenchResult, type Stage, stages} from '../bench/results.ts';
import {layersTable, layersTitle, notes, resultTable} from '../bench/table.ts';
import type {DeviceList, DeviceName, Precision} from '../device.ts';
import type {Form} from '../network.ts';
import {
  deviceOption,
  exitCode,
  formOption,
  jsonOption,
  positiveInteger,
  positiveNumber,
  precisionOption,
  threadsOption,
} from './options.ts';
import {print, printJson, printTable} from './output.ts';
import {version} from './version.ts';

interface Flags {
  models: string[];
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
  $ repvgg bench --models A0 --batch 1 --seconds 0.3 --json > before.json
  $ repvgg bench --compare before.json repvgg-bench/results.json`;

const defaultSeconds = 3;
/** Without --seconds no case begins later than this, so that the run ends within two minutes on any machine. */
const defaultLimitSeconds = 75;

export function addBench(program: Command): void {
  program
    .command('bench')
    .description('measure images per second on this machine, with weights that are made up')
    .addOption(
      new Option('--models <names>', 'variants, or "all"').argParser(list).default(['A0', 'A2'], 'A0,A2'),
    )
    .addOption(
      new Option('--batch <sizes>', 'images that run together')
        .argParser(sizes)
        .default([1, 8, 32], '1,8,32'),
    )
    .addOption(
      new Option('--stage <names>', 'what to time: engine, pipeline, decode, preprocess')
        .argParser(stageList)
        .default(stages, 'all'),
    )
    .addOption(
      new Option(
        '--peers [names]',
        'measure others beside it: onnxruntime-node, pytorch, pytorch-compile',
      ).argParser(list),
    )
    .addOption(formOption())
    .addOption(deviceOption())
    .addOption(precisionOption())
    .addOption(threadsOption())
    .option('--seconds <n>', `to measure each result (default: ${defaultSeconds})`, positiveNumber)
    .option('--layers', 'report each layer of each network, beside the least it could take here')
    .addOption(
      new Option('--compare <files...>', 'compare two earlier results instead of measuring').conflicts(
        'check',
      ),
    )
    .option(
      '--check <file>',
      'measure the cases of earlier results, and exit with 1 if one needs more instructions or its ratio became worse',
    )
    .option('--output <folder>', 'where report.html and results.json go', 'repvgg-bench')
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(bench);
}

function list(value: string): string[] {
  return value.split(',').map(item => item.trim());
}

function sizes(value: string): number[] {
  return list(value).map(positiveInteger);
}

function stageList(value: string): Stage[] {
  const names = list(value) as Stage[];
  if (names.some(name => !stages.includes(name)))
    throw new InvalidArgumentError(`Expected names out of ${stages.join(', ')}.`);
  return names;
}

async function bench(flags: Flags, command: Command): Promise<void> {
  const {compare, check, output, json} = flags;
  if (compare) {
    if (compare.length !== 2) command.error("error: option '--compare' takes two files");
    return printComparison(compare[0]!, compare[1]!, json);
  }
  const baseline = check === undefined ? undefined : await readReport(check);
  const report = await measure(baseline ? {...flags, ...casesOf(baseline)} : flags);
  await mkdir(output, {recursive: true});
  await writeFile(join(output, 'results.json'), `${JSON.stringify(report, null, 2)}\n`);
  const page = join(output, 'report.html');
  const {renderReport} = await import('../bench/report.ts');
  await writeFile(page, renderReport(report));
  if (baseline) return printCheck(checkReports(baseline, report), json);
  if (json) return printJson(report);
  const {align, rows} = resultTable(report.results);
  await printTable(align, rows);
  for (const network of report.layers ?? []) {
    await print(`\n${layersTitle(network)}`);
    const table = layersTable(network);
    await printTable(table.align, table.rows);
  }
  await print();
  for (const note of notes(report)) await print(note);
  await print(`charts in ${page}`);
}

async function measure(flags: Flags): Promise<BenchReport> {
  const {models, batch, stage, peers, layers = false, form, device, precision, threads, seconds} = flags;
  const {runBench} = await import('../bench/run.ts');
  const {peerNames} = await import('../bench/peers.ts');
  const {native} = await import('../native.ts');
  return runBench({
    models,
    batches: batch.toSorted((a, b) => a - b),
    stages: stage,
    layers,
    peers: peers === true ? peerNames : (peers ?? []),
    form,
    device,
    precision,
    threads: threads ?? native().cpuInfo().threads,
    seconds: seconds ?? defaultSeconds,
    limitSeconds: seconds === undefined && peers === undefined ? defaultLimitSeconds : Infinity,
    version,
    onProgress(message) {
      if (process.stderr.isTTY) process.stderr.write(`measuring: ${message}\n`);
    },
  });
}

/** What to measure to have the cases of earlier results again. */
function casesOf({results, limits, peers}: BenchReport): Partial<Flags> {
  const distinct = <Value>(values: readonly Value[]): Value[] => [...new Set(values)];
  const networks = results.filter(({runner, model}) => runner === 'repvgg' && model !== null);
  const [first] = networks;
  return {
    models: distinct(networks.map(({model}) => model!)),
    batch: distinct(networks.map(({batch}) => batch)),
    stage: distinct(results.map(({stage}) => stage)),
    threads: limits.threads,
    ...(first && {form: first.form, precision: first.precision as Precision}),
    ...(Object.keys(peers).length > 0 && {peers: Object.keys(peers)}),
  };
}

async function printComparison(before: string, after: string, json: true | undefined): Promise<void> {
  const comparison = compareReports(await readReport(before), await readReport(after));
  if (json) return printJson(comparison);
  const {changes, onlyBefore, onlyAfter, peakFactor} = comparison;
  const rate = ({imagesPerSecond: {min, median, max}}: BenchResult): string =>
    `${median.toFixed(1)} (${min.toFixed(1)} - ${max.toFixed(1)})`;
  await printTable('lrrrl', [
    ['case', 'images/s before', 'after', 'factor', ''],
    ...changes.map(change => [
      change.key,
      rate(change.before),
      rate(change.after),
      change.factor.toFixed(2),
      change.verdict,
    ]),
  ]);
  for (const key of onlyBefore) await print(`only in ${before}: ${key}`);
  for (const key of onlyAfter) await print(`only in ${after}: ${key}`);
  await print(`\nthe fp32 peak of the machine was ${peakFactor.toFixed(2)} times that of the first run`);
}

async function printCheck(checked: readonly Checked[], json: true | undefined): Promise<void> {
  if (checked.some(({passed}) => !passed)) process.exitCode = exitCode.rowsFailed;
  if (json) return printJson(checked);
  await printTable('llrrrl', [
    ['case', 'quantity', 'before', 'after', 'may change', ''],
    ...checked.map(one => [
      one.key,
      one.quantity,
      one.before.toPrecision(3),
      one.after.toPrecision(3),
      `${(100 * one.allowedLoss).toFixed(0)} %`,
      one.passed ? 'ok' : 'WORSE',
    ]),
  ]);
}
