import {readFile} from 'node:fs/promises';
import {basename} from 'node:path';
import sharp from 'sharp';
import {fileError, invalidArgument, RepVGGError} from './errors.ts';

/** Pixels that are already decoded: [height][width][channels], 8 bits each; grey, RGB or RGBA (alpha is dropped). */
export interface RawImage {
  data: Uint8Array;
  width: number;
  height: number;
  channels: 1 | 3 | 4;
}

/** A file's path, an encoded image (JPEG, PNG, WebP, AVIF, TIFF, GIF) in memory, or raw pixels. */
export type ImageInput = string | Uint8Array | RawImage;

/** [height][width][3], RGB. */
export interface RgbImage {
  data: Uint8Array;
  width: number;
  height: number;
}

/** How an input is called in messages: its file name, or its position among the inputs. */
export function inputName(input: ImageInput, index: number): string {
  return typeof input === 'string' ? basename(input) : `input ${index}`;
}

/**
 * Decodes an image to 8-bit RGB as Pillow's `convert('RGB')` does: grey is repeated, palettes are looked up, alpha is
 * dropped, EXIF orientation is not applied. CMYK is converted and 16-bit is reduced to 8. Of an animation, the first frame.
 *
 * @throws {RepVGGError} ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_IMAGE_DECODE, ERR_IMAGE_TOO_LARGE (over 268 megapixels),
 *   ERR_INVALID_ARGUMENT
 */
export async function decodeImage(input: ImageInput, name: string): Promise<RgbImage> {
  if (typeof input === 'string') {
    let bytes: Buffer;
    try {
      bytes = await readFile(input);
    } catch (cause) {
      throw fileError(`read image ${input}`, cause);
    }
    return decodeBytes(bytes, name);
  }
  return input instanceof Uint8Array ? decodeBytes(input, name) : rawToRgb(input, name);
}

async function decodeBytes(bytes: Uint8Array, name: string): Promise<RgbImage> {
  if (bytes.length === 0) throw new RepVGGError('ERR_IMAGE_DECODE', `Cannot decode ${name}: it is empty.`);
  try {
    const {data, info} = await sharp(bytes, {failOn: 'error'})
      .toColourspace('srgb')
      .removeAlpha()
      .raw({depth: 'uchar'})
      .toBuffer({resolveWithObject: true});
    return {data, width: info.width, height: info.height};
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0]!.replace(/\.$/, '');
    if (/pixel limit/i.test(reason)) {
      throw new RepVGGError(
        'ERR_IMAGE_TOO_LARGE',
        `Cannot decode ${name}: it has more than 268 megapixels.`,
        {cause},
      );
    }
    throw new RepVGGError('ERR_IMAGE_DECODE', `Cannot decode ${name}: ${reason}.`, {cause});
  }
}

function rawToRgb(image: RawImage, name: string): RgbImage {
  const {data, width, height, channels} = image ?? {};
  if (!(data instanceof Uint8Array)) {
    throw invalidArgument(name, 'a path, a Buffer or {data, width, height, channels}', image);
  }
  if (channels !== 1 && channels !== 3 && channels !== 4)
    throw invalidArgument(`${name}.channels`, '1, 3 or 4', channels);
  for (const [side, value] of [
    ['width', width],
    ['height', height],
  ] as const) {
    if (!Number.isInteger(value) || value < 1)
      throw invalidArgument(`${name}.${side}`, 'a positive integer', value);
  }
  const pixels = width * height;
  if (data.length !== pixels * channels) {
    const expected = `${pixels * channels} bytes (${width} x ${height} x ${channels})`;
    throw invalidArgument(`${name}.data`, expected, data.length);
  }
  if (channels === 3) return {data, width, height};
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = data[i * channels + (channels === 1 ? 0 : c)]!;
  }
  return {data: rgb, width, height};
}
