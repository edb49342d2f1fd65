import {isImage} from '../encoded_image.ts';
import {isTarHeader, tarBlockBytes} from '../tar_header.ts';
import type {SourceFormat} from './options.ts';
import {peek} from './read_stream.ts';
import {imageColumns} from './table.ts';

/**
 * Standard input, and what it looks like: a tar, an image, Parquet, JSON, a table whose first line has two columns or more and one of
 * the usual names for images, or else a list of paths.
 */
export async function sniffStdin(
  input: AsyncIterable<Uint8Array> = process.stdin,
): Promise<{stream: AsyncGenerator<Uint8Array>; sniffed: SourceFormat}> {
  // Fewer bytes are enough where they show what it is: someone may be typing.
  const {head, stream} = await peek(input, tarBlockBytes, beginsAsText);
  return {stream, sniffed: formatOf(head)};
}

const tarMagic = {word: 'ustar', offset: 257};

const beginsAsText = (head: Buffer): boolean => /^[\t\n\r\x20-\x7e]*\n/.test(head.toString('latin1'));

function formatOf(head: Buffer): SourceFormat {
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (isGzip || isTar(head)) return 'tar';
  if (isImage(head)) return 'image';
  if (head.toString('latin1', 0, 4) === 'PAR1') return 'parquet';
  const text = head.toString('utf8').replace(/^\ufeff/, '');
  if (/^\s*\{/.test(text)) return 'ndjson';
  const firstLine = text.split(/\r?\n/, 1)[0]!;
  if (hasImageColumn(firstLine, ',')) return 'csv';
  return hasImageColumn(firstLine, '\t') ? 'tsv' : 'list';
}

/** By its mark, or as tars before POSIX had none, by a header's checksum. */
function isTar(head: Buffer): boolean {
  const {word, offset} = tarMagic;
  return (
    head.toString('latin1', offset, offset + word.length) === word ||
    isTarHeader(head.subarray(0, tarBlockBytes))
  );
}

function hasImageColumn(line: string, delimiter: string): boolean {
  const columns = line.split(delimiter).map(name => name.replace(/^"(.*)"$/, '$1'));
  return columns.length > 1 && columns.some(name => imageColumns.includes(name));
}
