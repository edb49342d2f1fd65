import type {ScoreRow} from '../scoring/score_row.ts';
import {toJson, toText} from '../support/plain_text.ts';
import type {Column} from './columns.ts';

/** A row as a line of JSON. Numbers that JSON cannot write (NaN, Infinity) become null. */
export function toJsonLine(row: ScoreRow): string {
  return `${toJson(row)}\n`;
}

export function csvHeader(columns: readonly Column[]): string {
  return `${columns.map(({name}) => quoted(name)).join(',')}\r\n`;
}

/** A row of CSV (RFC 4180). Lists are JSON, missing values empty. */
export function toCsvLine(row: ScoreRow, columns: readonly Column[]): string {
  const cells = columns.map(({kind, cellOf}) => {
    const value = cellOf(row);
    if (value instanceof Float32Array) return quoted(JSON.stringify([...value]));
    return quoted((kind === 'number' ? value?.toString() : toText(value)) ?? '');
  });
  return `${cells.join(',')}\r\n`;
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * A row in the journal of a format that cannot be appended to: JSON with vectors in base64, which is exact and a third as long, and with
 * fields as the text that they will be, since JSON has no NaN.
 */
export function toJournalLine(row: ScoreRow): string {
  const vectors = Object.entries(row).filter(([, value]) => value instanceof Float32Array);
  const encoded = vectors.map(([name, value]: [string, Float32Array]) => [
    name,
    Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'),
  ]);
  const fields = row.fields && Object.entries(row.fields).map(([name, value]) => [name, toText(value)]);
  return `${toJson({...row, ...(fields && {fields: Object.fromEntries(fields)}), ...Object.fromEntries(encoded)})}\n`;
}

export function fromJournalLine(line: string): ScoreRow {
  const row = JSON.parse(line) as Record<string, unknown>;
  for (const name of ['logits', 'embedding']) {
    if (typeof row[name] !== 'string') continue;
    row[name] = new Float32Array(Uint8Array.from(Buffer.from(row[name], 'base64')).buffer);
  }
  return row as unknown as ScoreRow;
}
