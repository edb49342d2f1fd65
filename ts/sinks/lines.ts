import type {ScoreRow} from '../score.ts';
import {type Column, toText} from './columns.ts';

/** A row as a line of JSON. Numbers that JSON cannot write (NaN, Infinity) become null. */
export function toJsonLine(row: ScoreRow): string {
  return `${JSON.stringify(row, plainValue)}\n`;
}

function plainValue(_: string, value: unknown): unknown {
  if (value instanceof Float32Array) return [...value];
  return typeof value === 'bigint' ? String(value) : value;
}

export function csvHeader(columns: readonly Column[]): string {
  return `${columns.map(({name}) => quoted(name)).join(',')}\r\n`;
}

/** A row of CSV as RFC 4180 has it. Lists are JSON, what a row does not have is empty. */
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

/** Rows on their way to a format that cannot be appended to: as JSON, but vectors in base64, a third as long and exact. */
export function toJournalLine(row: ScoreRow): string {
  const line = JSON.stringify(row, (_, value: unknown) => {
    if (!(value instanceof Float32Array)) return plainValue('', value);
    return {float32: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')};
  });
  return `${line}\n`;
}

export function fromJournalLine(line: string): ScoreRow {
  return JSON.parse(line, (_, value: unknown) => {
    const {float32} = (value ?? {}) as {float32?: unknown};
    if (typeof float32 !== 'string') return value;
    return new Float32Array(Uint8Array.from(Buffer.from(float32, 'base64')).buffer);
  }) as ScoreRow;
}
