import type {FieldNames} from '../support/arguments.ts';

/** The format of a source, whatever its extension. */
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

/** Options of {@link openSource}. */
export interface SourceOptions {
  /** Default: by the extension, or for "-" by the first bytes. */
  format?: SourceFormat | undefined;
  /**
   * The column with the path, URL or bytes of the image. Default: the first of "image", "path", "file", "filename", "url" and "uri"
   * that exists. For a tar, what follows the first dot of an image's name, such as "input.jpg"; default: any image.
   */
  imageColumn?: string | undefined;
  /** The column with the row's id. Default: "id", or the path of the image if there is none. */
  idColumn?: string | undefined;
  /** The column with the known class. Default "label". */
  labelColumn?: string | undefined;
  /**
   * Columns that are required as fields. A table without one of them is refused, as is a source that cannot have it: a folder has only
   * "label". Of a Parquet file, only these columns and those above are read. Default: all columns except those of image, id and label.
   */
  fields?: readonly string[] | undefined;
  /** The folder that relative paths in a list or table are resolved against. Default: that of the list or table; for "-", the current one. */
  root?: string | undefined;
  /** Ends the iteration: it then throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

export const sourceOptionNames: FieldNames<SourceOptions> = {
  format: true,
  imageColumn: true,
  idColumn: true,
  labelColumn: true,
  fields: true,
  root: true,
  signal: true,
};

/** One file of a source and how to read it. */
export interface SourceFile extends Omit<SourceOptions, 'format'> {
  /** As given; the prefix of messages and generated ids. */
  path: string;
  /** The content, if it is not read from `path`: standard input. */
  stream?: AsyncIterable<Uint8Array>;
}
