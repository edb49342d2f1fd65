/** Checks and computations on the sizes and strides of tensors, which files may state arbitrarily. */

/** PyTorch's own limit. */
export const maxDimensions = 64;

export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The sizes of a tensor, or its strides. */
export function isShape(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= maxDimensions && value.every(isSize);
}

/** Zero is tested first, since a hostile product may be infinite, and infinity times zero is NaN. */
export function countElements(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

/** The strides of a tensor whose elements lie in row-major order without gaps. */
export function rowMajorStride(shape: readonly number[]): number[] {
  const stride = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) stride[axis] = stride[axis + 1]! * shape[axis + 1]!;
  return stride;
}

/** Whether the elements lie in row-major order without gaps. The stride of an axis of size 1 does not matter. */
export function isRowMajor(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}
