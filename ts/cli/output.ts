import {once} from 'node:events';
import type {Architecture} from '../architecture.ts';
import type {FailedRow} from '../scoring/score_row.ts';

/** Writes a line to standard output, and waits if its buffer is full. */
export async function print(line = ''): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

/** Escapes control characters, so that a file name can neither break a line nor control the terminal. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, character => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return character === '\n' ? '\\n' : `\\u${code}`;
  });
}

/** Reports a failed image on standard error. */
export function warnFailed({id, error}: FailedRow): void {
  console.error(oneLine(`repvgg: ${id}: ${error.message} (${error.code})`));
}

/** Prints a line of JSON. Numbers that JSON cannot represent (NaN, Infinity) become null. */
export function printJson(value: unknown): Promise<void> {
  return print(JSON.stringify(value));
}

/** Prints a table whose columns are as wide as their widest cells; `align` has "l" or "r" per column. */
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

/** The display name of an architecture. */
export function title({name}: Architecture): string {
  return name === 'custom' ? 'custom RepVGG' : name;
}
