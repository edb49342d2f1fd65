import {readFile} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import {type BenchReport, type BenchResult, caseKey, spreadOf} from './results.ts';
import {mismatch, type Schema} from './schema.ts';

/** One case in two runs. */
export interface Change {
  key: string;
  before: BenchResult;
  after: BenchResult;
  /** after / before of the medians of images per second. */
  factor: number;
  /** By the ranges over the rounds: if they overlap, the difference may be noise. */
  verdict: 'faster' | 'slower' | 'within noise';
}

export interface Comparison {
  changes: Change[];
  /** Cases that only one of the runs has. */
  onlyBefore: string[];
  onlyAfter: string[];
  /** after / before of the fp32 peaks: if far from 1, the machine itself was faster or slower. */
  peakFactor: number;
  /** Machine and version of both files if they differ, else null. */
  origins: {before: string; after: string} | null;
}

/** Quantities that a check compares. They depend less on the state of the machine than images per second do. */
export type Quantity =
  | 'instructions per image'
  | 'fraction of peak by processor time'
  | 'ratio to the peer'
  | 'fraction of peak';

/** The check of one case. */
export interface Checked {
  key: string;
  quantity: Quantity;
  before: number;
  /** null if the case was not measured again, which fails the check. */
  after: number | null;
  /** The largest relative loss that passes; for instructions, the largest increase. */
  allowedLoss: number;
  passed: boolean;
}

/** More than the variation caused by other work of the process and by threads that wait for each other. */
const mostMoreInstructions = 0.02;
/** The allowed loss of a quantity whose spread is not larger. */
const leastAllowedLoss = 0.1;
const mostAllowedLoss = 0.5;

const schemaName = 'docs/bench-results.schema.json';
const schemaUrl = new URL(`../../${schemaName}`, import.meta.url);

/**
 * Reads what `repvgg bench --json` printed.
 *
 * @throws {RepVGGError} ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_INVALID_ARGUMENT when it does not follow the schema
 */
export async function readReport(path: string): Promise<BenchReport> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw fileError(`read results ${path}`, cause);
  }
  const expected = `Expected the output of "repvgg bench --json" in ${path} but received`;
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch (cause) {
    throw new RepVGGError('ERR_INVALID_ARGUMENT', `${expected} text that is not JSON.`, {cause});
  }
  const at = mismatch(report, JSON.parse(await readFile(schemaUrl, 'utf8')) as Schema);
  if (at === undefined) return report as BenchReport;
  const where = at === '' ? '' : ` at ${at}`;
  throw new RepVGGError(
    'ERR_INVALID_ARGUMENT',
    `${expected} something else${where} (schema: ${schemaName}).`,
  );
}

export function compareReports(before: BenchReport, after: BenchReport): Comparison {
  const [old, own] = [byKey(before), byKey(after)];
  const origins = {before: originOf(before), after: originOf(after)};
  const changes = [...old].flatMap(([key, result]): Change[] => {
    const other = own.get(key);
    if (!other) return [];
    const [a, b] = [result.imagesPerSecond, other.imagesPerSecond];
    const verdict = b.min > a.max ? 'faster' : b.max < a.min ? 'slower' : 'within noise';
    return [{key, before: result, after: other, factor: b.median / a.median, verdict}];
  });
  return {
    changes,
    onlyBefore: [...old.keys()].filter(key => !own.has(key)),
    onlyAfter: [...own.keys()].filter(key => !old.has(key)),
    peakFactor: after.limits.fmaGflops / before.limits.fmaGflops,
    origins: origins.before === origins.after ? null : origins,
  };
}

/**
 * Compares one quantity of each case, the most stable that both runs have: the minimum of instructions, which may grow by 2 %; else, for
 * this package, the fraction of peak by processor time, which may fall by 10 %; else a ratio measured by the clock within each run, to a
 * peer or to the peak. That may fall by 10 % or by its spread in either run, whichever is larger, but never by more than 50 %. A case
 * that was not measured again fails.
 */
export function checkReports(before: BenchReport, after: BenchReport): Checked[] {
  const own = byKey(after);
  return before.results.flatMap((a): Checked[] => {
    const key = caseKey(a);
    const b = own.get(key);
    if (a.instructionsPerImage && b?.instructionsPerImage) {
      const [least, now] = [a.instructionsPerImage.min, b.instructionsPerImage.min];
      const allowedLoss = mostMoreInstructions;
      const passed = now <= least * (1 + allowedLoss);
      return [{key, quantity: 'instructions per image', before: least, after: now, allowedLoss, passed}];
    }
    const lost = (quantity: Quantity, old: number, now: number | null, allowedLoss: number): Checked[] => {
      const passed = now !== null && now >= old * (1 - allowedLoss);
      return [{key, quantity, before: old, after: now, allowedLoss, passed}];
    };
    if (a.cpuTimeFraction && b?.cpuTimeFraction) {
      const [old, now] = [a.cpuTimeFraction.median, b.cpuTimeFraction.median];
      return lost('fraction of peak by processor time', old, now, leastAllowedLoss);
    }
    const old = checkedRatio(a);
    if (old === null) return [];
    const spread = Math.max(leastAllowedLoss, checkedSpread(a), b ? checkedSpread(b) : 0);
    const quantity = a.ratio ? 'ratio to the peer' : 'fraction of peak';
    return lost(quantity, old, b ? checkedRatio(b) : null, Math.min(mostAllowedLoss, spread));
  });
}

/** The better of two checks of each case: noise comes and goes, but a slower program is slower every time. */
export function betterOf(first: readonly Checked[], second: readonly Checked[]): Checked[] {
  const again = new Map(second.map(one => [one.key, one]));
  return first.map(one => {
    const other = again.get(one.key);
    return !one.passed && other?.passed ? other : one;
  });
}

function originOf({version, machine: {cpu, usableCores, gpus}}: BenchReport): string {
  return [`repvgg ${version} on ${cpu}, ${usableCores} cores`, ...gpus].join(', ');
}

/** Whether a result has a quantity that a check can compare. */
export function isCheckable(result: BenchResult): boolean {
  return Boolean(result.instructionsPerImage ?? result.cpuTimeFraction) || checkedRatio(result) !== null;
}

/** null for peers without a ratio: their own fractions of peak are not checked. */
function checkedRatio({runner, ratio, fractionOfPeak}: BenchResult): number | null {
  return ratio ? ratio.median : runner === 'repvgg' ? fractionOfPeak : null;
}

/** The spread of that ratio over the rounds; for files without its range, that of images per second. */
function checkedSpread({ratio, fractionRange, spread}: BenchResult): number {
  const range = ratio ?? fractionRange;
  return range ? spreadOf(range) : spread;
}

function byKey({results}: BenchReport): Map<string, BenchResult> {
  return new Map(results.map(result => [caseKey(result), result]));
}
