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

/** Options of {@link openSource}. */
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
   * Columns that are needed as fields: a table without one is refused, and so is a source that cannot have it, such as a folder, which
   * has only "label". Of a Parquet file no others are read. Default: all of them.
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
