import {RepVGGError} from '../errors.ts';

/** Limit for the size of an encoded image, wherever it comes from. */
export const mostImageBytes: number = 2 ** 29;

/** @param doing what was attempted, such as "decode cat.jpg" */
export function tooManyBytes(doing: string): RepVGGError {
  const message = `Cannot ${doing}: the image has more than ${mostImageBytes / 2 ** 20} MiB.`;
  return new RepVGGError('ERR_IMAGE_TOO_LARGE', message);
}

/**
 * Signatures of JPEG, PNG, WebP, AVIF, TIFF and GIF, in hexadecimal. libvips would also decode other formats, including SVG,
 * which can reference files, and its own restrictions apply to the whole process.
 */
const beginnings =
  /^(?:ffd8ff|89504e470d0a1a0a|52494646.{8}57454250|.{8}66747970|49492[ab]00|4d4d002[ab]|474946383[79]61)/;
const beginningBytes = 12;

/** Whether bytes begin with the signature of a supported image format. */
export function isImage(bytes: Uint8Array): boolean {
  return beginnings.test(Buffer.from(bytes.subarray(0, beginningBytes)).toString('hex'));
}

/** Whether a file name has the extension of a supported image format. */
export function isImageName(name: string): boolean {
  return /\.(jpe?g|jpe|jfif|png|webp|avif|tiff?|gif)$/i.test(name);
}
