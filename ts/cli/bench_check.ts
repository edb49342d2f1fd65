import {betterOf, checkReports, isCheckable} from '../bench/compare.ts';
import {type BenchReport, type BenchResult, caseKey} from '../bench/results.ts';
import {RepVGGError} from '../errors.ts';
import type {Precision} from '../native/device.ts';
import {printCheck, printWhyNotCounted} from './bench_output.ts';
import {type BenchFlags, prepare, prepareFolder, writeReport} from './bench_run.ts';
import {Interruption} from './interruption.ts';
import {exitCode, parseDevice} from './options.ts';
import {printJson} from './output.ts';

/** Measurements before a regression is reported. */
const mostAttempts = 3;

/** Measures the cases of earlier results again. Regressions are measured twice more, because noise passes and slowness stays. */
export async function checkAgain(baseline: BenchReport, flags: BenchFlags): Promise<void> {
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

/** The sizes of the inputs, which a checkpoint may no longer have as its own. */
function cropOfEach({results}: BenchReport): Map<string, number> {
  return new Map(results.flatMap(({model, crop}) => (model && crop ? [[model, crop]] : [])));
}

/** The options that measure the checkable cases of `results`, a part of `baseline`, again. */
function casesOf(
  baseline: BenchReport,
  results: readonly BenchResult[] = baseline.results,
): Partial<BenchFlags> {
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

function distinct<Value>(values: readonly Value[]): Value[] {
  return [...new Set(values)];
}
