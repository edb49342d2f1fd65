// Not by name: an older Node, which has none, would say that and not which Node is required (ts/load_addon.ts).
import zlib from 'node:zlib';
import {loadedAddon} from '../native.ts';
import {inSlices} from '../turns.ts';

/** The CRC-32 of the bytes, behind others that have `before`, a slice at a time. */
export async function checksum(bytes: Uint8Array, before = 0): Promise<number> {
  const crc32 = loadedAddon()?.crc32 ?? zlib.crc32; // The addon's takes a fifth of the time.
  let value = before;
  const add = (first: number, end: number): void => {
    value = crc32(bytes.subarray(first, end), value);
  };
  await inSlices(bytes.length, add, {itemLength: 1 / 8}); // zlib takes eight bytes in the time of a number.
  return value;
}
