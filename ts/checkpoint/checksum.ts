import {crc32} from 'node:zlib';
import {inSlices} from '../turns.ts';

/** The CRC-32 of the bytes, a slice at a time. */
export async function checksum(bytes: Uint8Array): Promise<number> {
  let value = 0;
  const add = (first: number, end: number): void => {
    value = crc32(bytes.subarray(first, end), value);
  };
  await inSlices(bytes.length, add, {itemLength: 1 / 8}); // zlib takes eight bytes in the time of a number.
  return value;
}
