import {once} from 'node:events';
import type {Architecture} from '../architecture.ts';
import type {FailedRow} from '../score_row.ts';

/** Writes a line to standard output, and waits while its reader is behind. */
export async function print(line = ''): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

/** Text with its control characters escaped, so that a file name can neither break a line nor drive the terminal. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, character => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return character === '\n' ? '\\n' : `\\u${code}`;
  });
}

/** Says on standard error why an image has no result. */
export function warnFailed({id, error}: FailedRow): void {
  console.error(oneLine(`repvgg: ${id}: ${error.message} (${error.code})`));
}

/** One line of JSON. Numbers that JSON cannot write (NaN, Infinity) become null. */
export function printJson(value: unknown): Promise<void> {
  return print(JSON.stringify(value));
}

/** Columns as wide as their widest cell; `align` has an "l" or "r" for each. */
export async function printTable(align: string, rows: readonly (readonly string[])[]): Promise<void> {
  const widths = [...align].map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, i) =>
      align[i] === 'r' ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!),
    );
    await print(cells.join('  ').trimEnd());
  }
}

/** A few significant digits, as in "1.8e-10" or "8.31". */
export function small(value: number): string {
  return Math.abs(value) >= 0.01 || value === 0
    ? String(Number(value.toPrecision(3)))
    : value.toExponential(1);
}

/** An architecture's name, for people. */
export function title({name}: Architecture): string {
  return name === 'custom' ? 'custom RepVGG' : name;
}
