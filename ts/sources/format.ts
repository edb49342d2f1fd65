import {stat} from 'node:fs/promises';
import {extname} from 'node:path';
import {fileError, RepVGGError} from '../errors.ts';
import {isImageName} from '../images/encoded_image.ts';
import {isUrl} from '../support/urls.ts';
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

/** The format that a file's extension implies, or undefined. */
export function formatOfName(path: string): SourceFormat | undefined {
  const extension = extname(path).toLowerCase();
  if (extension === '.gz' && !/\.tar\.gz$/i.test(path)) return undefined;
  return formatOfExtension[extension] ?? (isImageName(path) ? 'image' : undefined);
}

/**
 * What a source is. The files that a glob matches may be of any format.
 *
 * @param format takes precedence over the extension, but not over being a folder
 */
export async function sourceKind(
  path: string,
  format: SourceFormat | undefined,
): Promise<SourceFormat | 'glob'> {
  try {
    if ((await stat(path)).isDirectory()) return 'folder';
  } catch (cause) {
    if (isUrl(path)) {
      const problem = 'expected a folder, a file or "-"; a list or table may contain URLs of images';
      throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
    }
    if (isGlob(path)) return 'glob';
    throw fileError(`read source ${path}`, cause);
  }
  const found = format ?? formatOfName(path);
  if (found) return found;
  const endings = '.txt, .ndjson, .jsonl, .csv, .tsv, .parquet, .tar, .tar.gz, .tgz';
  throw new RepVGGError(
    'ERR_SOURCE',
    `Cannot tell the format of source ${path}: expected a folder, an image or a file that ends in ${endings}. Otherwise set the format.`,
  );
}
