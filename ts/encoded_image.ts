/** No image whose file has more bytes is read. */
export const mostImageBytes: number = 2 ** 29;

/**
 * How JPEG, PNG, WebP, AVIF, TIFF and GIF begin, in hexadecimal. libvips would decode others too, among them SVG, which
 * can name further files; its own list of what it may decode is one for the whole process.
 */
const beginnings =
  /^(?:ffd8ff|89504e470d0a1a0a|52494646.{8}57454250|.{8}66747970|49492[ab]00|4d4d002[ab]|474946383[79]61)/;
const beginningBytes = 12;

/** Whether bytes begin as an image does that can be decoded. */
export function isImage(bytes: Uint8Array): boolean {
  return beginnings.test(Buffer.from(bytes.subarray(0, beginningBytes)).toString('hex'));
}

/** Whether a file is called as such an image is. */
export function isImageName(name: string): boolean {
  return /\.(jpe?g|jpe|jfif|png|webp|avif|tiff?|gif)$/i.test(name);
}
