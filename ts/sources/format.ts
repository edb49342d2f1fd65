import {stat} from 'node:fs/promises';
import {extname} from 'node:path';
import {isImageName} from '../encoded_image.ts';
import {fileError, RepVGGError} from '../errors.ts';
import {isGlob} from './glob.ts';
import type {SourceFormat} from './options.ts';

const formatOfExtension: Readonly<Record<string, SourceFormat>> = {
  '.txt': 'list',
  '.lst': 'list',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.parquet': 'parquet',
  '.tar': 'tar',
  '.tgz': 'tar',
  '.gz': 'tar', // .tar.gz
};

/** What a file is by its name; undefined where that does not tell. */
export function formatOf(path: string): SourceFormat | undefined {
  const extension = extname(path).toLowerCase();
  if (extension === '.gz' && !/\.tar\.gz$/i.test(path)) return undefined;
  return formatOfExtension[extension] ?? (isImageName(path) ? 'image' : undefined);
}

/**
 * What a source is; a glob's files may be of any kind.
 *
 * @param format what it is said to be, unless it is a folder
 */
export async function sourceKind(
  path: string,
  format: SourceFormat | undefined,
): Promise<SourceFormat | 'glob'> {
  try {
    if ((await stat(path)).isDirectory()) return 'folder';
  } catch (cause) {
    if (/^[a-z][a-z\d+.-]*:\/\//i.test(path)) {
      const problem = 'expected a file, a folder or "-", in which the images may be URLs';
      throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
    }
    if (isGlob(path)) return 'glob';
    throw fileError(`read source ${path}`, cause);
  }
  const found = format ?? formatOf(path);
  if (found) return found;
  const endings = '.txt, .ndjson, .jsonl, .csv, .tsv, .parquet, .tar, .tar.gz, .tgz';
  throw new RepVGGError(
    'ERR_SOURCE',
    `Cannot tell what source ${path} is: expected a folder, an image or a file that ends in ${endings}, or say its format.`,
  );
}
