/** Headers of tars, those of images and those of PyTorch's old checkpoints: POSIX's ustar (IEEE Std 1003.1, pax) and GNU tar's. */

export const tarBlockBytes = 512;

type Field = readonly [first: number, bytes: number];

/** Where things are in a header. */
export const tarField = {
  name: [0, 100],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  target: [157, 100],
  magic: [257, 6],
  prefix: [345, 155],
  /** Of a sparse file: whether a block with more of its list follows. */
  isExtended: [482, 1],
} as const;

/** What as many bytes take in whole blocks. */
export function tarBlocksOf(size: number): number {
  return Math.ceil(size / tarBlockBytes) * tarBlockBytes;
}

/** Whether a block has the sum of its own bytes, as the headers of tars have. */
export function isTarHeader(block: Buffer): boolean {
  const [first, count] = tarField.checksum;
  let sum = count * 0x20; // It counts as blanks itself.
  for (const [i, byte] of block.entries()) if (i < first || i >= first + count) sum += byte;
  return block.length === tarBlockBytes && tarNumber(block, tarField.checksum) === sum;
}

/** In octal digits, or where these are too few, in base 256 behind a byte of 0x80. NaN where it is none. */
export function tarNumber(header: Buffer, field: Field): number {
  const [first, count] = field;
  if (header[first]! === 0x80) {
    const value = BigInt(`0x${header.toString('hex', first + 1, first + count)}`);
    if (value <= Number.MAX_SAFE_INTEGER) return Number(value);
  }
  const digits = tarText(header, field).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : Number.NaN;
}

/** Up to the first zero byte. */
export function tarText(bytes: Buffer, [first, count]: Field): string {
  const end = bytes.subarray(first, first + count).indexOf(0);
  return bytes.toString('utf8', first, first + (end < 0 ? count : end));
}

/** Such a block ends a tar. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every(byte => byte === 0);
}
