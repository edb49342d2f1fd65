import {invalidArgument} from '../errors.ts';
import {countElements} from './shape.ts';

/** A tensor to be written; `values` is asked once, when its turn comes. */
export interface TensorToWrite {
  name: string;
  shape: readonly number[];
  /** The elements in row-major order. */
  values(): Promise<Float32Array>;
}

/** @throws {RepVGGError} ERR_INVALID_ARGUMENT when two tensors have one name */
export function checkNames(tensors: readonly TensorToWrite[]): void {
  const names = new Set(tensors.map(({name}) => name));
  if (names.size !== tensors.length) throw invalidArgument('tensors', 'tensors of different names', tensors);
}

/**
 * The bytes of a tensor, in this machine's order.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT when its values do not fit its shape; whatever `values` throws
 */
export async function tensorBytes({name, shape, values}: TensorToWrite): Promise<Uint8Array> {
  const array = await values();
  const count = countElements(shape);
  if (array.length !== count)
    throw invalidArgument(`the values of ${name}`, `${count} numbers`, array.length);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
