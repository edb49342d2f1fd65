import {inSlices} from '../support/turns.ts';
import {layerNames} from './block_names.ts';
import type {TensorInfo} from './checkpoint.ts';
import type {Dialect} from './dialects.ts';
import {countElements} from './shape.ts';

/**
 * Views a checkpoint's tensors in the layouts of the official network: kernels stored per group are concatenated, grouped
 * kernels have four dimensions, and the classifier's weight is [numClasses][channels]. Nothing is read yet.
 */
export function plainTensors(
  tensors: ReadonlyMap<string, TensorInfo>,
  {groupList, linear, linearTransposed}: Dialect,
): ReadonlyMap<string, TensorInfo> {
  const joined = groupList === null ? tensors : joinGroups(tensors, `.${groupList}.`);
  const plain = new Map<string, TensorInfo>();
  for (const [name, tensor] of joined) plain.set(name, mergeGroups(tensor));
  const names = layerNames(linear);
  const [weight, bias] = [plain.get(names.weight), plain.get(names.bias)];
  if (weight && (linearTransposed || isTransposed(weight.shape, bias?.shape))) {
    plain.set(names.weight, transpose(weight));
  }
  return plain;
}

/** Fused PaddleClas networks have the official names, so only the shape shows that the weight is transposed. */
function isTransposed([rows, columns]: readonly number[], [classes]: readonly number[] = []): boolean {
  return rows !== classes && columns === classes && classes !== undefined;
}

function joinGroups(tensors: ReadonlyMap<string, TensorInfo>, list: string): Map<string, TensorInfo> {
  const joined = new Map<string, TensorInfo>();
  for (const [name, tensor] of tensors) {
    const [module, member] = name.split(list);
    const leaf = member?.match(/^\d+(\.\w+)$/)?.[1];
    if (leaf === undefined || tensors.has(module + leaf)) {
      joined.set(name, tensor);
      continue;
    }
    if (joined.has(module + leaf)) continue;
    const parts: TensorInfo[] = [];
    for (let group = 0; ; group++) {
      const part = tensors.get(`${module}${list}${group}${leaf}`);
      if (!part) break;
      parts.push(part);
    }
    // Without the first group, the concatenated tensor is reported as missing.
    if (parts.length > 0) joined.set(module + leaf, concatenate(module + leaf, parts));
  }
  return joined;
}

function concatenate(name: string, parts: readonly TensorInfo[]): TensorInfo {
  const [first] = parts;
  const sizes = parts.map(({shape}) => countElements(shape));
  // Unequal shapes result in one that no kernel has, which is refused later.
  const rows = parts.reduce((sum, {shape}) => sum + (shape[0] ?? 0), 0);
  const isEven = parts.every(({shape}) => shape.slice(1).join() === first!.shape.slice(1).join());
  return {
    ...first!,
    name,
    locate: undefined,
    shape: isEven ? [rows, ...first!.shape.slice(1)] : [sizes.reduce((a, b) => a + b, 0)],
    async read() {
      const arrays = await Promise.all(parts.map(part => part.read()));
      const isFloat64 = arrays.some(array => array instanceof Float64Array);
      const all = new (isFloat64 ? Float64Array : Float32Array)(sizes.reduce((a, b) => a + b, 0));
      let offset = 0;
      for (const array of arrays) {
        all.set(array, offset);
        offset += array.length;
      }
      return all;
    },
  };
}

/** [groups][out / groups][in / groups][k][k] has the memory layout of [out][in / groups][k][k]. */
function mergeGroups(tensor: TensorInfo): TensorInfo {
  if (tensor.shape.length !== 5) return tensor;
  const [groups, out, ...rest] = tensor.shape;
  return {...tensor, shape: [groups! * out!, ...rest]};
}

/** Transposes a matrix; tensors of other dimensions are returned as they are. */
export function transpose<Tensor extends Omit<TensorInfo, 'name'>>(tensor: Tensor): Tensor {
  const [rows, columns] = tensor.shape;
  if (tensor.shape.length !== 2 || !rows || !columns) return tensor;
  return {
    ...tensor,
    locate: undefined,
    shape: [columns, rows],
    async read() {
      const values = await tensor.read();
      const transposed = new (values instanceof Float64Array ? Float64Array : Float32Array)(values.length);
      await inSlices(
        columns,
        (first, end) => {
          for (let column = first; column < end; column++) {
            for (let row = 0; row < rows; row++) {
              transposed[column * rows + row] = values[row * columns + column]!;
            }
          }
        },
        {itemLength: rows},
      );
      return transposed;
    },
  };
}
