import {mostImageBytes, tooManyBytes} from '../images/encoded_image.ts';
import type {SourceFile} from './options.ts';
import type {Records} from './record.ts';
import {checkFields} from './table.ts';

/** A single image. */
export async function* readImageFile(file: SourceFile): Records {
  const {path, stream} = file;
  checkFields(file, 'an image', []);
  yield {id: path, image: stream ? await bytesOf(stream, path) : path};
}

async function bytesOf(stream: AsyncIterable<Uint8Array>, path: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > mostImageBytes) throw tooManyBytes(`read source ${path}`);
  }
  return Buffer.concat(chunks);
}
