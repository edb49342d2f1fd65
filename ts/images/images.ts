import {fileURLToPath} from 'node:url';
import {types} from 'node:util';
import {fileError, invalidArgument, RepVGGError} from '../errors.ts';
import {native} from '../native/addon.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {openRegularFile} from '../support/files.ts';
import {clause} from '../support/plain_text.ts';
import {isUrl} from '../support/urls.ts';
import {isImage, mostImageBytes, tooManyBytes} from './encoded_image.ts';
import {fetchImage, type RunOptions} from './fetch_image.ts';
import {loadSharp} from './load_sharp.ts';
import {Slots} from './slots.ts';

// Unlike instanceof, also true of arrays of another realm, as code under Jest gets from native addons, and of no imitation.
const {isUint8Array, isUint8ClampedArray} = types;

/**
 * Decoded pixels, [height][width][channels], 8 bits each and not normalised: grey, RGB or RGBA (alpha is dropped). They are resized and
 * cropped as those of a file are; `preprocessing: {resize: 0}` leaves pixels of the network's input size as they are.
 */
export interface RawImage {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  channels: 1 | 3 | 4;
}

/** The path of a file, an encoded image (JPEG, PNG, WebP, AVIF, TIFF, GIF) in memory, a file:, http:, https: or data: URL, or raw pixels. */
export type ImageInput = string | URL | Uint8Array | RawImage;

export interface DecodeOptions extends RunOptions {
  /** Applies the EXIF orientation. Default false, as in torchvision. */
  autoOrient?: boolean | undefined;
}

/** [height][width][3], RGB. */
export interface RgbImage {
  data: Uint8Array;
  width: number;
  height: number;
}

/** sharp's own limit, also applied to raw pixels. */
const maxPixels = 0x3fff ** 2;

/** Attempts to decode a damaged image, until libvips reports the reason. */
const mostAttempts = 10;

/** The name of an input in messages: its path or URL, else the given name. */
export function inputName(input: ImageInput, otherwise: string): string {
  if (input instanceof URL && input.protocol !== 'data:') return input.href.split('?')[0]!;
  return typeof input === 'string' ? input : otherwise;
}

/**
 * sharp runs on the libuv thread pool, half of which is left to the file system and DNS calls of the process. This also bounds
 * the memory of full-size images.
 */
const sharpSlots = new Slots(Math.max(1, Math.floor((Number(process.env.UV_THREADPOOL_SIZE) || 4) / 2)));

/**
 * Decodes an image to 8-bit RGB like Pillow's `convert('RGB')`: grey is repeated, palettes are applied, alpha is dropped, and
 * neither the EXIF orientation (unless requested) nor a colour profile is applied. CMYK is converted, 16-bit is reduced to
 * 8-bit, and an animation yields its first frame. The addon decodes JPEGs, on threads of its own, and sharp everything else.
 *
 * @throws {RepVGGError} ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_IMAGE_FETCH, ERR_IMAGE_DECODE, ERR_IMAGE_TOO_LARGE (over 268
 *   megapixels or 512 MiB), ERR_INVALID_ARGUMENT
 */
export async function decodeImage(
  input: ImageInput,
  name: string,
  options: DecodeOptions = {},
): Promise<RgbImage> {
  const {autoOrient = false} = options;
  const source = await withoutUrl(input, options);
  const image = mayBeJpeg(source) ? await native().decodeJpeg(source, autoOrient, mostImageBytes) : null;
  return image ?? decodeOther(source, name, autoOrient);
}

/**
 * Decodes, resizes and crops an image into `out` at `offset`: [crop][crop][3]. A JPEG is never held in memory at full size.
 * Throws as {@link decodeImage} does.
 */
export async function prepareImage(
  input: ImageInput,
  name: string,
  preprocessing: Preprocessing,
  out: Uint8Array,
  offset: number,
  options: RunOptions = {},
): Promise<void> {
  const {autoOrient} = preprocessing;
  const source = await withoutUrl(input, options);
  if (
    mayBeJpeg(source) &&
    (await native().prepareJpeg(source, autoOrient, preprocessing, out, offset, mostImageBytes))
  )
    return;
  const {data, width, height} = await decodeOther(source, name, autoOrient);
  await native().resizeCrop(data, width, height, preprocessing, out, offset);
}

/** The path of a file, an encoded image or raw pixels. */
type Source = Exclude<ImageInput, URL>;

async function withoutUrl(input: ImageInput, options: RunOptions): Promise<Source> {
  if (!(input instanceof URL)) return input;
  if (input.protocol !== 'file:') return fetchImage(input, options);
  try {
    return fileURLToPath(input);
  } catch (cause) {
    // It names a host, or has an encoded slash in a name.
    const reason = (cause as Error).message;
    throw new RepVGGError('ERR_IMAGE_FETCH', `Cannot read image ${input.href}: ${reason}.`, {cause});
  }
}

function mayBeJpeg(source: Source): source is string | Uint8Array {
  return (
    typeof source === 'string' ||
    (isUint8Array(source) &&
      source.length <= mostImageBytes &&
      source[0] === 0xff &&
      source[1] === 0xd8 &&
      source[2] === 0xff)
  );
}

/** Decodes what the addon does not, including damaged and unusual JPEGs; sharp reports what is wrong, if anything. */
async function decodeOther(source: Source, name: string, autoOrient: boolean): Promise<RgbImage> {
  if (typeof source !== 'string' && !isUint8Array(source)) return rawToRgb(source, name);
  return sharpSlots.run(async () => {
    const bytes = typeof source === 'string' ? await readWhole(source, name) : source;
    return decodeBytes(bytes, name, autoOrient);
  });
}

async function readWhole(path: string, name: string): Promise<Buffer> {
  try {
    await using file = await openRegularFile(path);
    if (file.size > mostImageBytes) throw tooManyBytes(`decode ${name}`);
    return await file.handle.readFile();
  } catch (cause) {
    if (cause instanceof RepVGGError) throw cause;
    const error = fileError(`read image ${path}`, cause);
    if (!isUrl(path)) throw error;
    const message = `${clause(error.message)}; pass a URL as a URL object.`;
    throw new RepVGGError(error.code, message, {cause});
  }
}

async function decodeBytes(bytes: Uint8Array, name: string, autoOrient: boolean): Promise<RgbImage> {
  if (bytes.length > mostImageBytes) throw tooManyBytes(`decode ${name}`);
  if (bytes.length === 0) throw new RepVGGError('ERR_IMAGE_DECODE', `Cannot decode ${name}: it is empty.`);
  if (!isImage(bytes)) {
    const message = `Cannot decode ${name}: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.`;
    throw new RepVGGError('ERR_IMAGE_DECODE', message);
  }
  const sharp = await loadSharp();
  for (let attempt = 1; ; attempt++) {
    try {
      const {data, info} = await sharp(bytes, {failOn: 'error', ignoreIcc: true, autoOrient})
        .toColourspace('srgb')
        .removeAlpha()
        .raw({depth: 'uchar'})
        .toBuffer({resolveWithObject: true});
      return {data, width: info.width, height: info.height};
    } catch (cause) {
      const reason = clause((cause as Error).message.split('\n')[0]!);
      // libvips has a single error buffer for the process, which another image may have cleared.
      if (reason === 'Unknown error' && attempt < mostAttempts) continue;
      if (/pixel limit/i.test(reason)) throw tooLarge(name, cause);
      throw new RepVGGError('ERR_IMAGE_DECODE', `Cannot decode ${name}: ${reason}.`, {cause});
    }
  }
}

function tooLarge(name: string, cause?: unknown): RepVGGError {
  const message = `Cannot decode ${name}: it has more than 268 megapixels.`;
  return new RepVGGError('ERR_IMAGE_TOO_LARGE', message, {cause});
}

function rawToRgb(image: RawImage, name: string): RgbImage {
  const {data, width, height, channels} = image ?? {};
  if (data !== undefined && !isUint8Array(data) && !isUint8ClampedArray(data)) {
    throw invalidArgument(`${name}.data`, 'a Uint8Array of pixels, which the model normalises itself,', data);
  }
  if (data === undefined) {
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
  if (pixels > maxPixels) throw tooLarge(name);
  // Copied: the caller could modify, transfer or shrink the buffer while another thread reads it. (A Buffer's slice() is no copy.)
  // And a subclass could tell another length than it has.
  const own = channels === 3 ? new Uint8Array(data) : data;
  if (own.length !== pixels * channels) {
    const expected = `${pixels * channels} bytes (${width} x ${height} x ${channels})`;
    throw invalidArgument(`${name}.data`, expected, own.length);
  }
  if (channels === 3) return {data: own as Uint8Array, width, height};
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = data[i * channels + (channels === 1 ? 0 : c)]!;
  }
  return {data: rgb, width, height};
}
