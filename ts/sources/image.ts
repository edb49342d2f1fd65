import {RepVGGError} from '../errors.ts';
import {mostImageBytes} from '../images/encoded_image.ts';
import type {SourceFile} from './options.ts';
import type {Records} from './record.ts';
import {checkFields} from './table.ts';

/** A single image. */
export async function* readImage(file: SourceFile): Records {
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
    if (length > mostImageBytes) {
      const problem = `the image has more than ${mostImageBytes / 2 ** 20} MiB`;
      throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
    }
  }
  return Buffer.concat(chunks);
}
