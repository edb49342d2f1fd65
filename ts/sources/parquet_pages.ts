import type {AsyncBuffer, ColumnMetaData, CompressionCodec, FileMetaData} from 'hyparquet';
import {parquetHeader} from 'hyparquet/src/column.js';
import {getMaxRepetitionLevel, getSchemaPath} from 'hyparquet/src/schema.js';

type Header = ReturnType<typeof parquetHeader>;

/** Bytes of a page header that are read at first; statistics can make it longer. */
const headerBytes = 1024;

/** Values of a column of lists in a row group: 1 GiB of an array of them. */
const mostListValues = 2 ** 27;

/** How many times larger than its file a page can be at most, by the formats of the codecs: their longest run in the fewest bytes. */
const mostExpansion: Record<CompressionCodec, number> = {
  UNCOMPRESSED: 1,
  SNAPPY: 22, // 64 bytes by a copy of 3.
  LZ4: 255,
  LZ4_RAW: 255,
  LZO: 255,
  GZIP: 1032,
  ZSTD: 2 ** 15, // A block of 128 KiB in 4 bytes.
  BROTLI: 2 ** 22, // 16 MiB by a command of a few bytes.
};
/** For the frame around a page that has little in it. */
const frameBytes = 64;

/**
 * Checks the page headers of a column chunk before anything of it is read. hyparquet follows their sizes as they are: a missing or negative
 * one in a damaged file would keep it in an endless loop, and a huge one would take memory for what the page cannot have.
 *
 * @param rows of the row group
 * @returns bytes of the pages when they are uncompressed
 * @throws {Error} what is wrong with them
 */
export async function checkPages(
  file: AsyncBuffer,
  {schema}: FileMetaData,
  column: ColumnMetaData,
  rows: number,
): Promise<number> {
  const name = column.path_in_schema.join('.');
  const data = Number(column.data_page_offset);
  const start = Math.min(data, Number(column.dictionary_page_offset || data)); // Some writers say 0 for none.
  const end = start + Number(column.total_compressed_size);
  const hasLists = getMaxRepetitionLevel(getSchemaPath(schema, column.path_in_schema)) > 0;
  let values = hasLists ? Math.min(Number(column.num_values), mostListValues) : rows;
  let bytes = 0;
  for (let offset = start; offset < end - 1; ) {
    const {header, length} = await readHeader(file, offset, end);
    const count = isPossible(header, column.codec) ? valuesOf(header) : Infinity;
    values -= count;
    if (values < 0) throw new Error(`a page of column ${name} has a damaged header at byte ${offset}`);
    bytes += header.uncompressed_page_size;
    offset += length + header.compressed_page_size;
    if (offset > end) throw new Error(`a page of column ${name} ends after its column, at byte ${offset}`);
  }
  return bytes;
}

/** Whether a page of these sizes can be. */
function isPossible(header: Header, codec: CompressionCodec): boolean {
  const {compressed_page_size, uncompressed_page_size, dictionary_page_header: dictionary} = header;
  const v2 = header.data_page_header_v2;
  const page = v2 ?? header.data_page_header ?? dictionary;
  const levels = v2 ? [v2.definition_levels_byte_length, v2.repetition_levels_byte_length] : [];
  const sizes = [compressed_page_size, uncompressed_page_size, page?.num_values, ...levels];
  if (!sizes.every(size => Number.isSafeInteger(size) && size! >= 0)) return false;
  if (uncompressed_page_size > mostExpansion[codec] * compressed_page_size + frameBytes) return false;
  // Values of a dictionary are of a bit at least; those of data pages may be nothing but one level for all.
  return !dictionary || dictionary.num_values <= 8 * uncompressed_page_size;
}

/** Of the column: a dictionary has none. */
function valuesOf({data_page_header_v2, data_page_header}: Header): number {
  return (data_page_header_v2 ?? data_page_header)?.num_values ?? 0;
}

async function readHeader(
  file: AsyncBuffer,
  offset: number,
  end: number,
): Promise<{header: Header; length: number}> {
  for (let size = headerBytes; ; size *= 8) {
    const reader = {view: new DataView(await file.slice(offset, Math.min(offset + size, end))), offset: 0};
    try {
      return {header: parquetHeader(reader), length: reader.offset};
    } catch (error) {
      if (!(error instanceof RangeError) || offset + size >= end) throw error;
    }
  }
}
