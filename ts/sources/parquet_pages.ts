import type {AsyncBuffer, ColumnMetaData} from 'hyparquet';
import {parquetHeader} from 'hyparquet/src/column.js';

/** Bytes of a page header that are read at first; statistics can make it longer. */
const headerBytes = 1024;

/**
 * Checks the page headers of a column chunk. hyparquet follows their sizes as they are, and a missing or negative one in a damaged file
 * would keep it in an endless loop.
 *
 * @throws {Error} what is wrong with them
 */
export async function checkPages(file: AsyncBuffer, column: ColumnMetaData): Promise<void> {
  const name = column.path_in_schema.join('.');
  const data = Number(column.data_page_offset);
  const start = Math.min(data, Number(column.dictionary_page_offset || data)); // Some writers say 0 for none.
  const end = start + Number(column.total_compressed_size);
  for (let offset = start; offset < end - 1; ) {
    const {header, length} = await readHeader(file, offset, end);
    const page = header.data_page_header_v2 ?? header.data_page_header ?? header.dictionary_page_header;
    const v2 = header.data_page_header_v2;
    const levels = v2 ? [v2.definition_levels_byte_length, v2.repetition_levels_byte_length] : [];
    const sizes = [header.compressed_page_size, header.uncompressed_page_size, page?.num_values, ...levels];
    if (!sizes.every(size => Number.isSafeInteger(size) && size! >= 0))
      throw new Error(`a page of column ${name} has a damaged header at byte ${offset}`);
    offset += length + header.compressed_page_size;
    if (offset > end) throw new Error(`a page of column ${name} ends after its column, at byte ${offset}`);
  }
}

async function readHeader(
  file: AsyncBuffer,
  offset: number,
  end: number,
): Promise<{header: ReturnType<typeof parquetHeader>; length: number}> {
  for (let size = headerBytes; ; size *= 8) {
    const reader = {view: new DataView(await file.slice(offset, Math.min(offset + size, end))), offset: 0};
    try {
      return {header: parquetHeader(reader), length: reader.offset};
    } catch (error) {
      if (!(error instanceof RangeError) || offset + size >= end) throw error;
    }
  }
}
