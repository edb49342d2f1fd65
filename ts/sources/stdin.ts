import {isImage} from '../images.ts';
import {peek} from './read_stream.ts';
import type {SourceFormat} from './source.ts';

/** Standard input, and what it looks like: a tar, an image, Parquet, JSON, or else a list of paths. CSV cannot be told from a list. */
export async function sniffStdin(
  input: AsyncIterable<Uint8Array> = process.stdin,
): Promise<{stream: AsyncGenerator<Uint8Array>; sniffed: SourceFormat}> {
  // Fewer bytes are enough where they show what it is: someone may be typing.
  const {head, stream} = await peek(input, tarHeaderBytes, beginsAsText);
  return {stream, sniffed: formatOf(head)};
}

const tarHeaderBytes = 512;
const tarMagic = {text: 'ustar', offset: 257};

const beginsAsText = (head: Buffer): boolean => /^[\t\n\r\x20-\x7e]*\n/.test(head.toString('latin1'));

function formatOf(head: Buffer): SourceFormat {
  const {text, offset} = tarMagic;
  const isTar = head.toString('latin1', offset, offset + text.length) === text;
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (isTar || isGzip) return 'tar';
  if (isImage(head)) return 'image';
  if (head.toString('latin1', 0, 4) === 'PAR1') return 'parquet';
  return /^\s*\{/.test(head.toString('latin1')) ? 'ndjson' : 'list';
}
