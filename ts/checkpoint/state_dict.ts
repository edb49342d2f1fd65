import {invalidArgument} from '../errors.ts';
import {countElements} from './shape.ts';

/** A float32 tensor to write. `values` is called once, when it is the tensor's turn. */
export interface TensorToWrite {
  name: string;
  shape: readonly number[];
  /** The elements in row-major order. */
  values(): Promise<Float32Array>;
}

/** @throws {RepVGGError} ERR_INVALID_ARGUMENT if two tensors have the same name */
export function checkNames(tensors: readonly TensorToWrite[]): void {
  const names = new Set(tensors.map(({name}) => name));
  if (names.size !== tensors.length) throw invalidArgument('tensors', 'tensors of different names', tensors);
}

/**
 * The bytes of a tensor, in host byte order.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT if its values do not fit its shape; whatever `values` throws
 */
export async function tensorBytes({name, shape, values}: TensorToWrite): Promise<Uint8Array> {
  const array = await values();
  const count = countElements(shape);
  if (array.length !== count)
    throw invalidArgument(`the values of ${name}`, `${count} numbers`, array.length);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
