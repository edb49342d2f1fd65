import {stat} from 'node:fs/promises';
import {sourceKind} from './format.ts';
import type {SourceOptions} from './options.ts';
import {openSource} from './source.ts';

/** Formats whose records can be counted without reading images. */
const cheap: readonly string[] = ['folder', 'image', 'list', 'ndjson', 'csv', 'tsv'];

/**
 * The number of records in a source, or undefined if counting would read its images or consume the only copy of its records: standard
 * input and pipes, such as a shell's <(find photos), can be read only once.
 */
export async function countRecords(path: string, options: SourceOptions = {}): Promise<number | undefined> {
  if (path === '-' || !cheap.includes(await sourceKind(path, options.format))) return undefined;
  const stats = await stat(path);
  if (!stats.isFile() && !stats.isDirectory()) return undefined;
  let count = 0;
  for await (const _ of openSource(path, options)) count++;
  return count;
}
