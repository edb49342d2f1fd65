// Not a named import: a Node too old to export crc32 would fail here, before load_addon.ts can say which Node is required.
import zlib from 'node:zlib';
import {loadedAddon} from '../native/addon.ts';
import {inSlices} from '../support/turns.ts';

/** Continues the CRC-32 `before` over more bytes, in slices that let the event loop run. */
export async function checksum(bytes: Uint8Array, before = 0): Promise<number> {
  const crc32 = loadedAddon()?.crc32 ?? zlib.crc32; // The addon's is five times as fast.
  let value = before;
  const add = (first: number, end: number): void => {
    value = crc32(bytes.subarray(first, end), value);
  };
  await inSlices(bytes.length, add, {itemLength: 1 / 8}); // zlib processes eight bytes in the time of one number.
  return value;
}
