import {stat} from 'node:fs/promises';
import {sourceKind} from './format.ts';
import type {SourceOptions} from './options.ts';
import {openSource} from './source.ts';

/** Their records are known without the images being read. */
const cheap: readonly string[] = ['folder', 'image', 'list', 'ndjson', 'csv', 'tsv'];

/**
 * How many records a source has; undefined where to know it would be to read its images, or to take the records from whoever
 * reads them: a pipe, such as <(find photos) of a shell, has them once.
 */
export async function countRecords(path: string, options: SourceOptions = {}): Promise<number | undefined> {
  if (path === '-' || !cheap.includes(await sourceKind(path, options.format))) return undefined;
  const stats = await stat(path);
  if (!stats.isFile() && !stats.isDirectory()) return undefined;
  let count = 0;
  for await (const _ of openSource(path, options)) count++;
  return count;
}
