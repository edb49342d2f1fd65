import {endianness} from 'node:os';
import {inSlices} from '../turns.ts';
import type {DType, TensorInfo} from './checkpoint.ts';
import {type ByteSource, type CheckpointFile, printable} from './file.ts';
import {countElements, isRowMajor, rowMajorStride} from './shape.ts';

const hostIsLittleEndian = endianness() === 'LE';

/** Tensors of one checkpoint; a training checkpoint with optimizer and averages of the largest RepVGG has some 3,000. */
const maxTensors = 20_000;

/** Elements of one tensor; the largest of the largest RepVGG has 59 million. */
const maxElements = 2 ** 30;

/** A compressed storage of as many elements is inflated in a moment, for however many tensors. */
const freeElements = 2 ** 12;

interface ElementType {
  readonly bytes: number;
  /** Reads elements in the host's byte order; takes over the buffer where no conversion is needed. */
  decode(buffer: ArrayBuffer): Float32Array | Float64Array | Promise<Float32Array>;
}

export const elementTypes: Readonly<Record<DType, ElementType>> = {
  f64: {bytes: 8, decode: buffer => new Float64Array(buffer)},
  f32: {bytes: 4, decode: buffer => new Float32Array(buffer)},
  f16: {bytes: 2, decode: buffer => halfToFloat(new Uint16Array(buffer))},
  bf16: {bytes: 2, decode: buffer => bfloatToFloat(new Uint16Array(buffer))},
  i64: {bytes: 8, decode: buffer => Float32Array.from(new BigInt64Array(buffer), Number)},
  i32: {bytes: 4, decode: buffer => new Float32Array(new Int32Array(buffer))},
  i16: {bytes: 2, decode: buffer => new Float32Array(new Int16Array(buffer))},
  i8: {bytes: 1, decode: buffer => new Float32Array(new Int8Array(buffer))},
  u8: {bytes: 1, decode: buffer => new Float32Array(new Uint8Array(buffer))},
  bool: {bytes: 1, decode: buffer => Float32Array.from(new Uint8Array(buffer), byte => (byte === 0 ? 0 : 1))},
};

/** A run of elements in a file. Several tensors may be views of one. */
export class Storage {
  readonly dtype: DType;
  /** In elements. */
  readonly length: number;
  readonly littleEndian: boolean;
  readonly source: ByteSource;
  /** Whether a part costs no more than its share of the whole, which is not so where the whole is compressed. */
  readonly partsAreCheap: boolean;

  constructor(
    dtype: DType,
    length: number,
    littleEndian: boolean,
    source: ByteSource,
    partsAreCheap = false,
  ) {
    this.dtype = dtype;
    this.length = length;
    this.littleEndian = littleEndian;
    this.source = source;
    this.partsAreCheap = partsAreCheap;
  }

  part(first: number, length: number): Storage {
    const start = first * elementTypes[this.dtype].bytes;
    const {dtype, littleEndian, source, partsAreCheap} = this;
    const {locate} = source;
    const part: ByteSource = {
      readInto: (target, offset) => source.readInto(target, start + offset),
      locate: locate && ((offset, length) => locate(start + offset, length)),
    };
    return new Storage(dtype, length, littleEndian, part, partsAreCheap);
  }
}

/** A strided view of a storage. Offset and strides count elements. */
export class TensorView {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];

  constructor(storage: Storage, offset: number, shape: readonly number[], stride: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
  }
}

/** A tensor whose elements are all there is in a place of their own, row-major and little-endian. */
export function plainView(dtype: DType, shape: readonly number[], source: ByteSource): TensorView {
  const storage = new Storage(dtype, countElements(shape), true, source, true);
  return new TensorView(storage, 0, shape, rowMajorStride(shape));
}

/**
 * Adds a tensor to those of a checkpoint.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT for a name that is taken, ERR_CHECKPOINT_UNSUPPORTED for one too many; also
 *   those of `tensorInfo`
 */
export function addTensor(
  tensors: Map<string, TensorInfo>,
  name: string,
  view: TensorView,
  file: CheckpointFile,
): void {
  if (tensors.has(name))
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `it has two tensors named ${printable(name)}`);
  tensors.set(name, tensorInfo(name, view, file));
  checkTensorCount(tensors.size, file);
}

/** @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED for more tensors than any network has */
export function checkTensorCount(count: number, file: CheckpointFile): void {
  if (count <= maxTensors) return;
  const problem = `it has more than ${maxTensors.toLocaleString('en')} tensors, where a network has some thousands`;
  throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
}

/**
 * Makes a view into a tensor of the checkpoint, having checked that it lies within its storage.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT or ERR_CHECKPOINT_UNSUPPORTED
 */
export function tensorInfo(name: string, view: TensorView, file: CheckpointFile): TensorInfo {
  const {storage, offset, shape, stride} = view;
  const elements = countElements(shape);
  /** Elements from the first of the view to its last. */
  const span = elements === 0 ? 0 : shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis]!, 1);
  const shown = (): string => `tensor ${printable(name)} of shape [${shape.join(', ')}]`;
  if (elements > 0 && offset + span > storage.length) {
    const reach = `reaches to element ${offset + span} of a storage of ${storage.length}`;
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `${shown()} ${reach}`);
  }
  if (elements > storage.length) {
    const problem = `${shown()} repeats elements of a smaller storage, so save it with .contiguous()`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  if (span > maxElements) {
    const problem = `${shown()} spans ${span} elements, where at most ${maxElements} are supported`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  // Each tensor would have all of the storage inflated: a small file could keep a machine busy for minutes.
  const isWasteful = !storage.partsAreCheap && storage.length > freeElements && span < storage.length / 16;
  if (isWasteful && elements > 0) {
    const problem = `${shown()} is a small part of a storage that is compressed, so save it with torch.save again`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  async function read(): Promise<Float32Array | Float64Array> {
    const type = elementTypes[storage.dtype];
    const buffer = new ArrayBuffer(span * type.bytes);
    if (span > 0) await storage.source.readInto(new Uint8Array(buffer), offset * type.bytes);
    if (storage.littleEndian !== hostIsLittleEndian) swapBytes(Buffer.from(buffer), type.bytes);
    const values = await type.decode(buffer);
    return isRowMajor(shape, stride) ? values : gather(values, shape, stride);
  }

  const {locate} = storage.source;
  const isPlain =
    storage.dtype === 'f32' && storage.littleEndian === hostIsLittleEndian && isRowMajor(shape, stride);
  return {
    name,
    dtype: storage.dtype,
    shape,
    read,
    locate: isPlain && locate ? () => locate(offset * 4, span * 4) : undefined,
  };
}

async function gather(
  values: Float32Array | Float64Array,
  shape: readonly number[],
  stride: readonly number[],
): Promise<Float32Array | Float64Array> {
  const count = countElements(shape);
  const gathered = values instanceof Float64Array ? new Float64Array(count) : new Float32Array(count);
  const index = shape.map(() => 0);
  let from = 0;
  await inSlices(count, (first, end) => {
    for (let to = first; to < end; to++) {
      gathered[to] = values[from]!;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        from += stride[axis]!;
        index[axis]! += 1;
        if (index[axis] !== shape[axis]) break;
        from -= stride[axis]! * shape[axis]!;
        index[axis] = 0;
      }
    }
  });
  return gathered;
}

function swapBytes(bytes: Buffer, size: number): void {
  if (size === 2) bytes.swap16();
  if (size === 4) bytes.swap32();
  if (size === 8) bytes.swap64();
}

let halfTable: Float32Array | undefined;

/** IEEE 754 binary16 by table: there are only 65,536 of them. */
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

/** A bfloat16 is the upper half of a binary32. */
async function bfloatToFloat(halves: Uint16Array): Promise<Float32Array> {
  const bits = new Uint32Array(halves.length);
  await inSlices(halves.length, (first, end) => {
    for (let i = first; i < end; i++) bits[i] = halves[i]! << 16;
  });
  return new Float32Array(bits.buffer);
}
