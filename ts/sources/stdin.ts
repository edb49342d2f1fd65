import {isImage} from '../images/encoded_image.ts';
import {isTarHeader, tarBlockBytes, tarField, tarText} from '../support/tar_header.ts';
import {isGzip} from './gunzip.ts';
import type {SourceFormat} from './options.ts';
import {peek} from './read_stream.ts';
import {imageColumns} from './table.ts';

/**
 * Standard input and its format, detected from its first bytes: a tar, an image, Parquet, NDJSON, a table if the first line has at least
 * two columns and one of the usual names of an image column, or else a list of paths.
 */
export async function sniffStdin(
  input: AsyncIterable<Uint8Array> = process.stdin,
): Promise<{stream: AsyncGenerator<Uint8Array>; sniffed: SourceFormat}> {
  // One line of text is enough: someone may be typing.
  const {head, stream} = await peek(input, tarBlockBytes, beginsAsText);
  return {stream, sniffed: sniffFormat(head)};
}

const beginsAsText = (head: Buffer): boolean => /^[\t\n\r\x20-\x7e]*\n/.test(head.toString('latin1'));

function sniffFormat(head: Buffer): SourceFormat {
  if (isGzip(head) || isTar(head)) return 'tar';
  if (isImage(head)) return 'image';
  if (head.toString('latin1', 0, 4) === 'PAR1') return 'parquet';
  const text = head.toString('utf8').replace(/^\ufeff/, '');
  if (/^\s*\{/.test(text)) return 'ndjson';
  const firstLine = text.split(/\r?\n/, 1)[0]!;
  if (hasImageColumn(firstLine, ',')) return 'csv';
  return hasImageColumn(firstLine, '\t') ? 'tsv' : 'list';
}

/** By the magic number or, for tars older than POSIX, by the checksum of the first header. */
function isTar(head: Buffer): boolean {
  return tarText(head, tarField.magic).startsWith('ustar') || isTarHeader(head.subarray(0, tarBlockBytes));
}

function hasImageColumn(line: string, delimiter: string): boolean {
  const columns = line.split(delimiter).map(name => name.replace(/^"(.*)"$/, '$1'));
  return columns.length > 1 && columns.some(name => imageColumns.includes(name));
}
