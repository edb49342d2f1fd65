import type {Floats} from '../network.ts';
import {formatCount} from '../support/plain_text.ts';
import {inSlices} from '../support/turns.ts';
import type {TensorInfo} from './checkpoint.ts';
import {type DType, elementBytes, isHostFloat32, toFloats} from './element_types.ts';
import {type ByteSource, type CheckpointFile, printable} from './file.ts';
import {countElements, isRowMajor, rowMajorStride} from './shape.ts';

/** Tensors of a checkpoint. The largest RepVGG with optimizer state and averages has some 3,000. */
const maxTensors = 20_000;

/** Elements of a tensor. The largest of the largest RepVGG has 59 million. */
const maxElements = 2 ** 30;

/** Inflating a storage of this many elements is cheap, even once for every tensor. */
const freeElements = 2 ** 12;

/** A contiguous run of elements in a file, of which several tensors may be views. */
export class Storage {
  readonly dtype: DType;
  /** In elements. */
  readonly length: number;
  readonly littleEndian: boolean;
  readonly source: ByteSource;
  /** Whether a part can be read without reading the whole, which is false for compressed storages. */
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
    const start = first * elementBytes(this.dtype);
    const {dtype, littleEndian, source, partsAreCheap} = this;
    const {locate} = source;
    const part: ByteSource = {
      readInto: (target, offset) => source.readInto(target, start + offset),
      locate: locate && ((offset, length) => locate(start + offset, length)),
    };
    return new Storage(dtype, length, littleEndian, part, partsAreCheap);
  }
}

/** A strided view of a storage. Offset and strides are in elements. */
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

/** A tensor with a source of its own, row-major and little-endian. */
export function plainView(dtype: DType, shape: readonly number[], source: ByteSource): TensorView {
  const storage = new Storage(dtype, countElements(shape), true, source, true);
  return new TensorView(storage, 0, shape, rowMajorStride(shape));
}

/**
 * Adds a tensor to a checkpoint.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT for a duplicate name, ERR_CHECKPOINT_UNSUPPORTED for too many tensors; also
 *   the errors of `tensorInfo`
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
  const problem = `it has more than ${formatCount(maxTensors)} tensors, where a network has some thousands`;
  throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
}

/**
 * Checks that a view lies within its storage, and makes it readable.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT or ERR_CHECKPOINT_UNSUPPORTED
 */
export function tensorInfo(name: string, view: TensorView, file: CheckpointFile): TensorInfo {
  const {storage, offset, shape, stride} = view;
  const {dtype, littleEndian} = storage;
  const elements = countElements(shape);
  /** Elements of the storage from the first of the view to its last. */
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

  // Every tensor would inflate the whole storage: a small file could keep the CPU busy for minutes.
  const isWasteful = !storage.partsAreCheap && storage.length > freeElements && span < storage.length / 16;
  if (isWasteful && elements > 0) {
    const problem = `${shown()} is a small part of a storage that is compressed, so save it with torch.save again`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  async function read(): Promise<Floats> {
    const bytes = elementBytes(dtype);
    const buffer = new ArrayBuffer(span * bytes);
    if (span > 0) await storage.source.readInto(new Uint8Array(buffer), offset * bytes);
    const values = await toFloats(buffer, dtype, littleEndian);
    return isRowMajor(shape, stride) ? values : gather(values, shape, stride);
  }

  const {locate} = storage.source;
  const isPlain = isHostFloat32(dtype, littleEndian) && isRowMajor(shape, stride);
  return {
    name,
    dtype,
    shape,
    read,
    locate: isPlain && locate ? () => locate(offset * 4, span * 4) : undefined,
  };
}

async function gather(values: Floats, shape: readonly number[], stride: readonly number[]): Promise<Floats> {
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
