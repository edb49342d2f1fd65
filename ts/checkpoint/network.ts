import {setImmediate as nextTurn} from 'node:timers/promises';
import type {Architecture} from '../architecture.ts';
import {invalidArgument, RepVGGError} from '../errors.ts';
import {type BatchNorm, type Floats, fuseBlock, roundToFloat32} from '../fusion.ts';
import type {
  BlockParameters,
  ConvolutionBranch,
  DeployBlock,
  NetworkParameters,
  SqueezeExciteParameters,
  TrainBlock,
} from '../network.ts';
import {inSlices} from '../turns.ts';
import type {Checkpoint} from './checkpoint.ts';
import type {BatchNormNames, BlockNames} from './dialects.ts';
import {checkpointStructure, type Structure} from './structure.ts';

export interface NetworkFromCheckpointOptions {
  /** What the network has to be: a name such as "RepVGG-A0", with any number of classes, or an architecture to the letter. */
  architecture?: string | Architecture | undefined;
}

/**
 * Reads a RepVGG network from a checkpoint of any known project, in train or deploy form. Its architecture is inferred
 * from its own names and shapes; everything they tell is checked here, values are checked as they are read. The
 * checkpoint has to stay open for as long as parameters are read.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED when it is not a RepVGG network or is quantised,
 *   ERR_CHECKPOINT_MISSING_TENSOR, ERR_CHECKPOINT_EXTRA_TENSOR or ERR_CHECKPOINT_SHAPE when a tensor is not as the
 *   network needs it, ERR_ARCHITECTURE_UNKNOWN or ERR_ARCHITECTURE_MISMATCH when it is not what `architecture` says.
 *   While reading: ERR_CHECKPOINT_VALUE for a value that is not finite or a variance that is negative.
 */
export function networkFromCheckpoint(
  checkpoint: Checkpoint,
  options: NetworkFromCheckpointOptions = {},
): NetworkParameters {
  const structure = checkpointStructure(checkpoint, options.architecture);
  const {architecture, form: storedForm, linear} = structure;
  const reader = new TensorReader(checkpoint, structure.dialect.batchNorm.eps);
  return {
    architecture,
    storedForm,
    blocks(form, signal) {
      if (form === 'train' && storedForm === 'deploy') {
        throw invalidArgument('form', `"deploy" (${checkpoint.path} is already fused)`, form);
      }
      return readBlocks(reader, structure, form === 'deploy', signal);
    },
    async linear() {
      return linear && {weight: await reader.float32(linear.weight), bias: await reader.float32(linear.bias)};
    },
  };
}

async function* readBlocks(
  reader: TensorReader,
  {form, blocks}: Structure,
  fuse: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<BlockParameters> {
  for (const {shape, names} of blocks) {
    // A block of few channels is one slice, and a checkpoint need not be a file that is waited for.
    await nextTurn();
    signal?.throwIfAborted();
    const squeezeExcite = shape.squeezeChannels > 0 ? await reader.squeezeExcite(names) : null;
    if (form === 'deploy') {
      const weight = await reader.float32(names.fused.weight);
      yield {form, shape, weight, bias: await reader.float32(names.fused.bias), squeezeExcite};
      continue;
    }
    const block: TrainBlock = {
      form,
      shape,
      dense: await reader.branch(names.dense),
      pointwise: await reader.branch(names.pointwise),
      identity: shape.identity ? await reader.batchNorm(names.identity) : null,
      squeezeExcite,
    };
    yield fuse ? await fusedBlock(reader, block, names, signal) : block;
  }
}

async function fusedBlock(
  reader: TensorReader,
  block: TrainBlock,
  {fused}: BlockNames,
  signal: AbortSignal | undefined,
): Promise<DeployBlock> {
  const {shape, dense, squeezeExcite} = block;
  const weight = new Float32Array(dense.weight.length);
  const bias = new Float32Array(shape.outChannels);
  const taps = weight.length / bias.length;
  const fuse = (first: number, end: number): void => {
    const channels = roundToFloat32(fuseBlock(block, first, end));
    weight.set(channels.weight, first * taps);
    bias.set(channels.bias, first);
  };
  await inSlices(bias.length, fuse, {itemLength: taps, signal});
  await reader.checkFinite(fused.weight, weight);
  await reader.checkFinite(fused.bias, bias);
  return {form: 'deploy', shape, weight, bias, squeezeExcite};
}

/** Reads tensors and refuses values that no network can have. */
class TensorReader {
  readonly #checkpoint: Checkpoint;
  readonly #eps: number;

  constructor(checkpoint: Checkpoint, eps: number) {
    this.#checkpoint = checkpoint;
    this.#eps = eps;
  }

  async values(name: string): Promise<Floats> {
    const values = await this.#checkpoint.tensors.get(name)!.read();
    await this.checkFinite(name, values);
    return values;
  }

  async float32(name: string): Promise<Float32Array> {
    const values = await this.values(name);
    if (values instanceof Float32Array) return values;
    const rounded = new Float32Array(values.length);
    await inSlices(values.length, (first, end) => rounded.set(values.subarray(first, end), first));
    await this.checkFinite(name, rounded);
    return rounded;
  }

  async branch(names: BlockNames['dense']): Promise<ConvolutionBranch> {
    return {
      weight: await this.values(names.weight),
      bias: this.#checkpoint.tensors.has(names.bias) ? await this.values(names.bias) : null,
      batchNorm: await this.batchNorm(names.batchNorm),
    };
  }

  async batchNorm(names: BatchNormNames): Promise<BatchNorm> {
    const eps = this.#eps;
    const variance = await this.values(names.variance);
    const bad = variance.findIndex(value => value < 0);
    if (bad >= 0) throw this.#badValue(names.variance, 'variances of 0 or more', variance[bad]!, bad);
    const gamma = await this.values(names.gamma);
    return {gamma, beta: await this.values(names.beta), mean: await this.values(names.mean), variance, eps};
  }

  async squeezeExcite({squeezeExcite: {down, up}}: BlockNames): Promise<SqueezeExciteParameters> {
    return {
      downWeight: await this.float32(down.weight),
      downBias: await this.float32(down.bias),
      upWeight: await this.float32(up.weight),
      upBias: await this.float32(up.bias),
    };
  }

  async checkFinite(name: string, values: Floats): Promise<void> {
    await inSlices(values.length, (first, end) => {
      for (let i = first; i < end; i++) {
        if (!Number.isFinite(values[i]!)) throw this.#badValue(name, 'finite float32 numbers', values[i]!, i);
      }
    });
  }

  #badValue(name: string, expected: string, value: number, index: number): RepVGGError {
    return new RepVGGError(
      'ERR_CHECKPOINT_VALUE',
      `Expected ${expected} for tensor "${name}" of ${this.#checkpoint.path} but received ${value} at index ${index}.`,
    );
  }
}
