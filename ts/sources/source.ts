import {invalidArgument, RepVGGError} from '../errors.ts';
import {checkOptions, checkSignal} from '../support/arguments.ts';
import {readFolder} from './folder.ts';
import {formatOfName, sourceKind} from './format.ts';
import {matchFiles} from './glob.ts';
import {readImageFile} from './image.ts';
import {readList, readNdjson} from './lines.ts';
import {
  type SourceFile,
  type SourceFormat,
  type SourceOptions,
  sourceFormats,
  sourceOptionNames,
} from './options.ts';
import {rememberPath} from './overwrite.ts';
import type {Records, SourceRecord, UnreadableRecord} from './record.ts';
import {sniffStdin} from './stdin.ts';

/**
 * The records of a source, read on demand and always in the same order: the images of a folder, the files that a glob matches, a list of
 * paths (.txt, .lst), a table (.ndjson, .jsonl, .csv, .tsv, .parquet), a tar or WebDataset shard (.tar, .tar.gz, .tgz), one image, or "-" for
 * standard input. A glob may match files of any of these formats.
 *
 * Memory does not grow with the source, except for the names in one folder and one row group of a Parquet file.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT. From the iteration: ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_SOURCE if the rest of the source
 *   cannot be read
 */
export function openSource(
  path: string,
  options: SourceOptions = {},
): AsyncIterable<SourceRecord | UnreadableRecord> {
  if (typeof path !== 'string' || path === '') {
    throw invalidArgument('source', 'a folder, a file, a glob or "-"', path);
  }
  checkOptions(options, sourceOptionNames);
  checkSignal(options.signal);
  const {format} = options;
  if (format !== undefined && !sourceFormats.includes(format)) {
    throw invalidArgument('format', sourceFormats.map(name => `"${name}"`).join(', '), format);
  }
  const records = read(path, options);
  rememberPath(records, path);
  return records;
}

async function* read(path: string, {format, ...options}: SourceOptions): Records {
  if (path === '-') {
    const {stream, sniffed} = await sniffStdin();
    yield* readers[format ?? sniffed]({path: 'stdin', root: '.', ...options, stream});
    return;
  }
  const kind = await sourceKind(path, format);
  if (kind !== 'glob') {
    yield* readers[kind]({path, ...options});
    return;
  }
  let none = true;
  for await (const match of matchFiles(path, options.signal)) {
    const matchFormat = 'error' in match ? undefined : (format ?? formatOfName(match.path));
    if ('error' in match) yield {id: match.path, error: match.error};
    else if (matchFormat) yield* readers[matchFormat]({path: match.path, ...options});
    else continue;
    none = false;
  }
  if (none) {
    const problem = 'none of the files that match it has the extension of an image, list, table or tar';
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}. Set the format.`);
  }
}

const readers: Readonly<Record<SourceFormat, (file: SourceFile) => Records>> = {
  folder: readFolder,
  image: readImageFile,
  list: readList,
  ndjson: readNdjson,
  // Loaded on demand, because their libraries are slow to load.
  csv: async function* (file) {
    yield* (await import('./csv.ts')).readCsv(file, ',');
  },
  tsv: async function* (file) {
    yield* (await import('./csv.ts')).readCsv(file, '\t');
  },
  parquet: async function* (file) {
    yield* (await import('./parquet.ts')).readParquet(file);
  },
  tar: async function* (file) {
    yield* (await import('./tar.ts')).readTar(file);
  },
};
