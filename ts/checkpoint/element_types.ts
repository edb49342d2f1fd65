/** The element types of tensors, and how their bytes become JavaScript's numbers. */
import {endianness} from 'node:os';
import type {Floats} from '../network.ts';
import {inSlices} from '../support/turns.ts';

/** Element types that checkpoints hold. Integers and `bool` occur only in tensors that the network ignores. */
export type DType = 'f64' | 'f32' | 'f16' | 'bf16' | 'i64' | 'i32' | 'i16' | 'i8' | 'u8' | 'bool';

interface ElementType {
  readonly bytes: number;
  /** Converts elements in host byte order; takes over the buffer if no conversion is needed. */
  convert(buffer: ArrayBuffer): Floats | Promise<Float32Array>;
}

const elementTypes: Readonly<Record<DType, ElementType>> = {
  f64: {bytes: 8, convert: buffer => new Float64Array(buffer)},
  f32: {bytes: 4, convert: buffer => new Float32Array(buffer)},
  f16: {bytes: 2, convert: buffer => halfToFloat(new Uint16Array(buffer))},
  bf16: {bytes: 2, convert: buffer => bfloatToFloat(new Uint16Array(buffer))},
  i64: {bytes: 8, convert: buffer => Float32Array.from(new BigInt64Array(buffer), Number)},
  i32: {bytes: 4, convert: buffer => new Float32Array(new Int32Array(buffer))},
  i16: {bytes: 2, convert: buffer => new Float32Array(new Int16Array(buffer))},
  i8: {bytes: 1, convert: buffer => new Float32Array(new Int8Array(buffer))},
  u8: {bytes: 1, convert: buffer => new Float32Array(new Uint8Array(buffer))},
  bool: {
    bytes: 1,
    convert: buffer => Float32Array.from(new Uint8Array(buffer), byte => (byte === 0 ? 0 : 1)),
  },
};

/** The size of an element in bytes. */
export function elementBytes(dtype: DType): number {
  return elementTypes[dtype].bytes;
}

const hostIsLittleEndian = endianness() === 'LE';

/** Whether elements stored like this are, byte for byte, a Float32Array of this machine. */
export function isHostFloat32(dtype: DType, littleEndian: boolean): boolean {
  return dtype === 'f32' && littleEndian === hostIsLittleEndian;
}

/** Converts stored elements to float64 for f64 and to float32 for all other types. Takes over the buffer. */
export async function toFloats(buffer: ArrayBuffer, dtype: DType, littleEndian: boolean): Promise<Floats> {
  const {bytes, convert} = elementTypes[dtype];
  if (littleEndian !== hostIsLittleEndian) swapBytes(Buffer.from(buffer), bytes);
  return convert(buffer);
}

function swapBytes(bytes: Buffer, size: number): void {
  if (size === 2) bytes.swap16();
  if (size === 4) bytes.swap32();
  if (size === 8) bytes.swap64();
}

let halfTable: Float32Array | undefined;

/** IEEE 754 binary16, by a table of all 65,536 values. */
async function halfToFloat(halves: Uint16Array): Promise<Float32Array> {
  halfTable ??= Float32Array.from({length: 65536}, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  });
  const table = halfTable;
  const floats = new Float32Array(halves.length);
  await inSlices(halves.length, (first, end) => {
    for (let i = first; i < end; i++) floats[i] = table[halves[i]!]!;
  });
  return floats;
}

/** A bfloat16 is the upper half of a float32. */
async function bfloatToFloat(halves: Uint16Array): Promise<Float32Array> {
  const bits = new Uint32Array(halves.length);
  await inSlices(halves.length, (first, end) => {
    for (let i = first; i < end; i++) bits[i] = halves[i]! << 16;
  });
  return new Float32Array(bits.buffer);
}
