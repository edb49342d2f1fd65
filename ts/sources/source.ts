import {fstat, type Stats} from 'node:fs';
import {realpath, stat} from 'node:fs/promises';
import {extname} from 'node:path';
import {promisify} from 'node:util';
import {checkOptions, checkSignal} from '../arguments.ts';
import {fileError, invalidArgument, RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images.ts';
import {findImages, isGlob, isImageName, matchesGlob, matchFiles} from './folder.ts';
import {readList, readNdjson} from './lines.ts';
import {sniffStdin} from './stdin.ts';
import {checkFields} from './table.ts';

/** One image to score, and what is known of it. */
export interface SourceRecord {
  /** What the image's row is called. */
  id: string;
  image: ImageInput;
  /** The class it is known to belong to: its folder's name, its .cls file in a tar, or its column. */
  label?: string;
  /** The other columns of its table, or the entries of its .json in a tar. */
  fields?: Readonly<Record<string, unknown>>;
}

/** A record of a source that cannot be used, such as a line that is no JSON. */
export interface UnreadableRecord {
  id: string;
  error: RepVGGError;
}

/** What a source is, whatever its name ends with. */
export type SourceFormat = 'folder' | 'image' | 'list' | 'ndjson' | 'csv' | 'tsv' | 'parquet' | 'tar';
export const sourceFormats: readonly SourceFormat[] = [
  'folder',
  'image',
  'list',
  'ndjson',
  'csv',
  'tsv',
  'parquet',
  'tar',
];

/** Of {@link openSource}. */
export interface SourceOptions {
  /** Default: what the name ends with, or for "-" what the text begins with. */
  format?: SourceFormat | undefined;
  /**
   * The column with the path, URL or bytes of the image. Default: "image", "path", "file", "filename", "url" or "uri", whichever is
   * there first. Of a tar, what follows the first dot of the images' names, as in "input.jpg". Default: all images.
   */
  imageColumn?: string | undefined;
  /** The column with the row's id. Default "id", or the path of the image. */
  idColumn?: string | undefined;
  /** The column with the known class. Default "label". */
  labelColumn?: string | undefined;
  /**
   * Columns that are needed as fields: a table without one is refused, and so is what cannot have it, as a folder, which has "label"
   * alone. Of a Parquet file no others are read. Default: all that there are.
   */
  fields?: readonly string[] | undefined;
  /** The folder that relative paths in a list or table start from. Default: the file's own; for "-" the current one. */
  root?: string | undefined;
  /** Ends the iteration: it then throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** A file of a source, where it comes from and how it is read. */
export interface SourceFile extends Omit<SourceOptions, 'format'> {
  /** As it was given; messages and ids begin with it. */
  path: string;
  /** Its text or bytes where they do not come from the file, as with standard input. */
  stream?: AsyncIterable<Uint8Array>;
}

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

/**
 * The records of a source, read as they are asked for, in an order that is the same every time: the images of a folder, the
 * files that a glob matches, a list of paths (.txt), a table (.ndjson, .jsonl, .csv, .tsv, .parquet), a tar or WebDataset
 * shard (.tar, .tar.gz, .tgz), one image, or "-" for standard input. A glob may match files of any of these kinds.
 *
 * Memory does not grow with the source, but for the names in one folder and the row group of a Parquet file.
 *
 * @throws {RepVGGError} from the iteration: ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_SOURCE where the rest of the source cannot
 *   be read, ERR_INVALID_ARGUMENT
 */
export function openSource(
  path: string,
  options: SourceOptions = {},
): AsyncIterable<SourceRecord | UnreadableRecord> {
  if (typeof path !== 'string' || path === '') {
    throw invalidArgument('source', 'a folder, a file, a glob or "-"', path);
  }
  checkOptions(options);
  checkSignal(options.signal);
  const {format} = options;
  if (format !== undefined && !sourceFormats.includes(format)) {
    throw invalidArgument('format', sourceFormats.map(name => `"${name}"`).join(', '), format);
  }
  const records = read(path, options);
  paths.set(records, path);
  return records;
}

/** Of what {@link openSource} has given. */
const paths = new WeakMap<object, string>();

/**
 * Checks that a source would not be lost when a file is written.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export async function checkNotSource(output: string, source: object): Promise<void> {
  const path = paths.get(source);
  if (path === undefined) return;
  if (path === '-') {
    const [input, written] = await Promise.all([stdinStats(), stat(output).catch(() => undefined)]);
    if (input?.isFile() && input.ino === written?.ino && input.dev === written.dev) throw isSource(output);
    return;
  }
  const real = (name: string): Promise<string | undefined> => realpath(name).catch(() => undefined);
  const [realSource, realOutput] = await Promise.all([real(path), real(output)]);
  if (realSource === undefined ? isGlob(path) && matchesGlob(path, output) : realSource === realOutput) {
    throw isSource(output);
  }
}

function isSource(output: string): RepVGGError {
  return invalidArgument('the output', 'a file that the source does not consist of', output);
}

/** Undefined where it is closed. */
const stdinStats = (): Promise<Stats | undefined> => promisify(fstat)(0).catch(() => undefined);

async function* read(
  path: string,
  {format, ...options}: SourceOptions,
): AsyncGenerator<SourceRecord | UnreadableRecord> {
  if (path === '-') {
    const {stream, sniffed} = await sniffStdin();
    yield* readers[format ?? sniffed]({path: 'stdin', root: '.', ...options, stream});
    return;
  }
  const kind = await sourceKind(path, format);
  if (kind === 'glob') {
    let none = true;
    for await (const match of matchFiles(path, options.signal)) {
      const matchFormat = format ?? formatOf(match);
      if (!matchFormat) continue;
      none = false;
      yield* readers[matchFormat]({path: match, ...options});
    }
    if (none) {
      const problem = 'no file that matches it is an image, a list, a table or a tar by its name';
      throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}; say its format.`);
    }
    return;
  }
  yield* readers[kind]({path, ...options});
}

const readers: Readonly<
  Record<SourceFormat, (file: SourceFile) => AsyncIterable<SourceRecord | UnreadableRecord>>
> = {
  folder: findImages,
  image: async function* (file) {
    const {path, stream} = file;
    checkFields(file, 'an image', []);
    yield {id: path, image: stream ? await bytesOf(stream) : path};
  },
  list: readList,
  ndjson: readNdjson,
  // Loaded when they are needed: their libraries take longer than all else.
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

/** No encoded image that may be decoded is as large. */
const maxImageBytes = 2 ** 29;

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > maxImageBytes) {
      const problem = `the image has more than ${maxImageBytes / 2 ** 20} MiB`;
      throw new RepVGGError('ERR_SOURCE', `Cannot read source stdin: ${problem}.`);
    }
  }
  return Buffer.concat(chunks);
}

/** What a source is; a glob's files may be of any kind. */
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

function formatOf(path: string): SourceFormat | undefined {
  const extension = extname(path).toLowerCase();
  if (extension === '.gz' && !/\.tar\.gz$/i.test(path)) return undefined;
  return formatOfExtension[extension] ?? (isImageName(path) ? 'image' : undefined);
}
