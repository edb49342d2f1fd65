import {RepVGGError} from '../errors.ts';
import {unitBatchNorm} from '../fusion/fusion.ts';
import {loadedAddon} from '../native/addon.ts';
import type {BatchNorm, BranchNorms, Floats, SqueezeExciteParameters} from '../network.ts';
import {inSlices} from '../support/turns.ts';
import type {BatchNormNames, BlockNames, LayerNames} from './block_names.ts';
import type {TensorInfo} from './checkpoint.ts';
import {printable} from './file.ts';
import {countElements} from './shape.ts';
import type {Structure} from './structure.ts';

/** The 3x3 and the 1x1 kernels of a block. */
export interface Kernels {
  dense: TensorInfo;
  pointwise: TensorInfo;
}

/** Reads tensors and refuses values that no trained network has. */
export class TensorReader {
  readonly #path: string;
  readonly #tensors: Structure['tensors'];
  readonly #eps: Structure['eps'];

  constructor(path: string, {tensors, eps}: Structure) {
    this.#path = path;
    this.#tensors = tensors;
    this.#eps = eps;
  }

  async values(name: string, tensor: TensorInfo = this.tensor(name)): Promise<Floats> {
    const values = await tensor.read();
    await this.checkFinite(name, values);
    return values;
  }

  tensor(name: string): TensorInfo {
    return this.#tensors.get(name)!;
  }

  async float32(name: string): Promise<Float32Array> {
    return this.#toFloat32(name, await this.values(name));
  }

  /** The kernel of a fused block, unrounded. Refuses one of zeros alone. */
  async fusedKernel(name: string): Promise<Floats> {
    const values = await this.values(name);
    if (isZero(values)) throw this.#unwritten(name);
    return values;
  }

  async fusedKernelFloat32(name: string): Promise<Float32Array> {
    return this.#toFloat32(name, await this.fusedKernel(name));
  }

  async #toFloat32(name: string, values: Floats): Promise<Float32Array> {
    if (values instanceof Float32Array) return values;
    const rounded = new Float32Array(values.length);
    await inSlices(values.length, (first, end) => rounded.set(values.subarray(first, end), first));
    await this.checkFinite(name, rounded);
    return rounded;
  }

  /**
   * The kernels of a block as trained, unread where possible. Refused if both are zeros alone; one of them may have been
   * pruned.
   */
  async kernels({dense, pointwise}: BlockNames): Promise<Kernels> {
    const points = await this.#peek(pointwise.weight);
    if (!points.isZero) return {dense: this.tensor(dense.weight), pointwise: points.tensor};
    const kernel = await this.#peek(dense.weight);
    if (kernel.isZero) throw this.#unwritten(dense.weight);
    return {dense: kernel.tensor, pointwise: points.tensor};
  }

  /** Looks at the first few numbers if the file has them as they are, else at all of them, which are read once then. */
  async #peek(name: string): Promise<{tensor: TensorInfo; isZero: boolean}> {
    const tensor = this.tensor(name);
    const start = await tensor.locate?.();
    if (start) {
      const bytes = Math.min(4 * countElements(tensor.shape), 256);
      const first = await start.file.read(start.position, bytes, `tensor ${printable(name)}`);
      if (first.some(byte => byte !== 0)) return {tensor, isZero: false};
    }
    const values = await tensor.read();
    return {tensor: {...tensor, locate: undefined, read: async () => values}, isZero: isZero(values)};
  }

  /** Reads a branch except for its kernel. */
  async norms(names: BlockNames['dense'], channels: number): Promise<BranchNorms['dense']> {
    return {bias: await this.bias(names), batchNorm: await this.batchNorm(names.batchNorm, channels)};
  }

  /** The bias of a convolution, if it has one. */
  async bias({bias}: LayerNames): Promise<Floats | null> {
    return this.#tensors.has(bias) ? this.values(bias) : null;
  }

  /** Reads a batch normalisation; the identity if the block has none. */
  async batchNorm(names: BatchNormNames | null, channels: number): Promise<BatchNorm> {
    if (!names) return unitBatchNorm(channels);
    const eps = this.#eps!;
    const variance = await this.values(names.variance);
    const bad = variance.findIndex(value => value < 0);
    if (bad >= 0)
      throw this.#badValue(names.variance, 'variances of 0 or more', `${variance[bad]} at index ${bad}`);
    const gamma = await this.values(names.gamma);
    if (isZero(gamma) && isZero(variance)) throw this.#unwritten(names.variance);
    return {gamma, beta: await this.values(names.beta), mean: await this.values(names.mean), variance, eps};
  }

  async squeezeExcite({squeezeExcite}: BlockNames): Promise<SqueezeExciteParameters> {
    const {down, up} = squeezeExcite;
    return {
      downWeight: await this.float32(down.weight),
      downBias: await this.float32(down.bias),
      upWeight: await this.float32(up.weight),
      upBias: await this.float32(up.bias),
    };
  }

  async checkFinite(name: string, values: Floats): Promise<void> {
    await inSlices(values.length, (first, end) => {
      if (allFinite(values.subarray(first, end))) return;
      for (let i = first; i < end; i++) {
        if (!Number.isFinite(values[i]!))
          throw this.#badValue(name, 'finite float32 numbers', `${values[i]} at index ${i}`);
      }
    });
  }

  /** Zeros are what torch.serialization.skip_data writes, and what a sparse, incomplete download contains. */
  #unwritten(name: string): RepVGGError {
    const received = 'only zeros, as if they were never written, so save or download the file again';
    return this.#badValue(name, 'trained values', received);
  }

  #badValue(name: string, expected: string, received: string): RepVGGError {
    return new RepVGGError(
      'ERR_CHECKPOINT_VALUE',
      `Expected ${expected} for tensor "${name}" of ${this.#path} but received ${received}.`,
    );
  }
}

function isZero(values: Floats): boolean {
  return values.every(value => value === 0);
}

/** Uses the addon if it is loaded, which is ten times as fast. */
function allFinite(values: Floats): boolean {
  const addon = loadedAddon();
  if (addon && values instanceof Float32Array) return addon.allFinite(values);
  let sum = 0;
  for (const value of values) sum += value * 0;
  return sum === 0;
}
