import type {Checked, Comparison} from '../bench/compare.ts';
import type {BenchReport, BenchResult} from '../bench/results.ts';
import {latencyTable, latencyTitle, layersTable, layersTitle, notes, resultTable} from '../bench/table.ts';
import {print, printTable} from './output.ts';

export async function printReport(report: BenchReport): Promise<void> {
  const {align, rows} = resultTable(report.results);
  await printTable(align, rows);
  const latency = latencyTable(report.results);
  if (latency) {
    await print(`\n${latencyTitle}`);
    await printTable(latency.align, latency.rows);
  }
  for (const network of report.layers ?? []) {
    await print(`\n${layersTitle(network)}`);
    const table = layersTable(network);
    await printTable(table.align, table.rows);
  }
  await print();
  for (const note of notes(report)) await print(note);
}

/** `before` and `after` are file names. */
export async function printComparison(before: string, after: string, comparison: Comparison): Promise<void> {
  const {changes, onlyBefore, onlyAfter, peakFactor, origins} = comparison;
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
  await print(
    `\nthe machine's fp32 peak in the second run was ${peakFactor.toFixed(2)} times that in the first`,
  );
  if (origins) await print(`${before} is from ${origins.before}; ${after} is from ${origins.after}`);
}

export async function printCheck(checked: readonly Checked[], skipped: readonly string[]): Promise<void> {
  await printTable('llrrrl', [
    ['case', 'quantity', 'before', 'after', 'may change', ''],
    ...checked.map(one => [
      one.key,
      one.quantity,
      one.before.toPrecision(3),
      one.after?.toPrecision(3) ?? '',
      `${(100 * one.allowedLoss).toFixed(0)} %`,
      one.passed ? 'ok' : one.after === null ? 'NOT MEASURED' : 'WORSE',
    ]),
  ]);
  for (const sentence of skipped) await print(`skipped ${sentence}`);
}

/** Says why instructions were not counted. */
export async function printWhyNotCounted(): Promise<void> {
  const {whyNoInstructions} = await import('../bench/counters.ts');
  const {native} = await import('../native/addon.ts');
  await print(`instructions were not counted: ${whyNoInstructions(native().countInstructions)}`);
}
