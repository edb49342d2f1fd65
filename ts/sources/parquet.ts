import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  type SchemaElement,
} from 'hyparquet';
import {compressors as decompressors} from 'hyparquet-compressors';
import {fileError, RepVGGError} from '../errors.ts';
import {openRegularFile} from '../support/files.ts';
import {clause} from '../support/plain_text.ts';
import type {SourceFile} from './options.ts';
import {checkPages} from './parquet_pages.ts';
import {parsers, takeDecimals} from './parquet_values.ts';
import type {Records} from './record.ts';
import {checkColumns, imageColumnOf, namedColumns, rowToRecord} from './table.ts';

/** The magic number at both ends and the length of the footer. */
const leastBytes = 12;

/** Nothing is not decompressed: the empty dictionary of a column without values is a byte in LZ4, which is refused. */
const compressors: Compressors = Object.fromEntries(
  Object.entries(decompressors).map(([codec, decompress]) => [
    codec,
    (bytes, length) => (length === 0 ? new Uint8Array() : decompress(bytes, length)),
  ]),
);

/** A row group is read as a whole, and what it has is held uncompressed. */
const maxRowGroupBytes = 2 ** 31;
/** Rows take about 140 bytes each, beside their images, of the 4 GiB that Node has for objects. */
const maxRowGroupRows = 2 ** 24;

/**
 * One row per image, with a column of paths, URLs or bytes, or of {bytes, path} as in Hugging Face datasets. Holds one row group in
 * memory at a time.
 */
export async function* readParquet(file: SourceFile): Records {
  const {path, signal} = file;
  if (file.stream) {
    throw new RepVGGError('ERR_SOURCE', 'Cannot read Parquet from standard input: name its file instead.');
  }
  await using opened = await openRegularFile(path).catch(cause => {
    throw fileError(`read source ${path}`, cause);
  });
  const buffer: AsyncBuffer = {
    byteLength: opened.size,
    slice: async (start, end = opened.size) => {
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const {bytesRead} = await opened.handle.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) throw new Error(`it ends at byte ${start + done}`);
        done += bytesRead;
      }
      return bytes.buffer;
    },
  };
  const metadata = await attempt(path, async () => {
    if (opened.size < leastBytes) throw new Error(`it has ${opened.size} bytes`);
    return parquetMetadataAsync(buffer);
  });
  const top = await attempt(path, async () => topColumns(metadata));
  const all = [...top.keys()];
  const imageColumn = imageColumnOf(all, file);
  // In a struct {bytes, path} the path is a field, too.
  checkColumns([...all, ...top.get(imageColumn)!.parts.filter(name => name === 'path')], file);
  const decimals = takeDecimals([...top.values()].map(({element}) => element));
  const needed = file.fields && namedColumns(imageColumn, file);
  const columns = all.filter(name => needed?.includes(name) ?? true);
  let first = 0;
  for (const group of metadata.row_groups) {
    signal?.throwIfAborted();
    const count = Number(group.num_rows);
    if (count === 0) continue; // pyarrow writes one for a table without rows, whose columns have no pages.
    const end = first + count;
    const rows = await attempt(path, async () => {
      const tooLarge = (size: string): Error =>
        new Error(`the row group at row ${first} has more than ${size}; write it with smaller row groups`);
      if (count > maxRowGroupRows) throw tooLarge(`${maxRowGroupRows} rows`);
      let bytes = 0;
      for (const {meta_data} of group.columns)
        if (meta_data && columns.includes(meta_data.path_in_schema[0]!))
          bytes += await checkPages(buffer, metadata, meta_data, count);
      if (bytes > maxRowGroupBytes) throw tooLarge('2 GiB');
      return parquetReadObjects({
        file: buffer,
        metadata,
        columns,
        rowStart: first,
        rowEnd: end,
        compressors,
        parsers,
        utf8: false,
      });
    });
    for (const [i, row] of rows.entries()) {
      rows[i] = {}; // Lets the image be freed as soon as it has been used.
      for (const [name, convert] of decimals) if (name in row) row[name] = convert(row[name]);
      yield rowToRecord(row, imageColumn, `${path}:${first + i}`, file);
    }
    first = end;
  }
}

interface TopColumn {
  element: SchemaElement;
  /** Names of its children, if it is nested. */
  parts: string[];
}

function topColumns({schema}: FileMetaData): Map<string, TopColumn> {
  let position = 1; // After the root.
  const childrenOf = (count = 0): string[] =>
    Array.from({length: count}, () => {
      const {name, num_children} = schema[position++]!;
      childrenOf(num_children);
      return name;
    });
  const columns = new Map<string, TopColumn>();
  while (position < schema.length) {
    const element = schema[position++]!;
    columns.set(element.name, {element, parts: childrenOf(element.num_children)});
  }
  return columns;
}

/** Wraps errors of hyparquet, which have no codes of their own: they all concern this file. */
async function attempt<Result>(path: string, read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (cause) {
    const reason = clause((cause as Error).message.replace(/^parquet\w* ?/, ''));
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path} as Parquet: ${reason}.`, {cause});
  }
}
