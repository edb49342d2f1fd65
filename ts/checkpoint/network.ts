import {setImmediate as nextTurn} from 'node:timers/promises';
import {workAhead} from '../ahead.ts';
import {invalidArgument, RepVGGError} from '../errors.ts';
import {allFinite, type BranchNorms, blockFactors, type FusionKernels, plainFusion} from '../fuse_rows.ts';
import {
  type BatchNorm,
  type Convolution,
  channelsOfBranch,
  distributeBatchNorm,
  type Floats,
  fuseBatchNorm,
  roundToFloat32,
  unitBatchNorm,
} from '../fusion.ts';
import type {
  BlockParameters,
  ConvolutionBranch,
  DeployBlock,
  NetworkParameters,
  SqueezeExciteParameters,
} from '../network.ts';
import {inSlices} from '../turns.ts';
import type {BatchNormNames, BlockNames, LayerNames} from './block_names.ts';
import type {Checkpoint, TensorInfo} from './checkpoint.ts';
import {checkpointStructure, type StoredBlock, type Structure, type StructureOptions} from './structure.ts';

/** Blocks that are read at a time: the small tensors of one while the kernels of another are fused. Each is memory. */
const blocksAhead = 2;

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
  options: StructureOptions = {},
  kernels: FusionKernels = plainFusion,
): NetworkParameters {
  const structure = checkpointStructure(checkpoint, options);
  const {architecture, form: storedForm, linear} = structure;
  const reader = new TensorReader(checkpoint.path, structure);
  return {
    architecture,
    storedForm,
    blocks(form, signal) {
      if (form === 'train' && storedForm === 'deploy') {
        throw invalidArgument(
          'form',
          `"deploy" (${describeFused(structure)} of ${checkpoint.path} are already fused)`,
          form,
        );
      }
      return readBlocks(reader, structure, form === 'deploy' ? kernels : null, signal);
    },
    async linear() {
      return linear && {weight: await reader.float32(linear.weight), bias: await reader.float32(linear.bias)};
    },
  };
}

/** "all blocks", "3 of 28 blocks" */
function describeFused({blocks}: Structure): string {
  const fused = blocks.filter(({form}) => form === 'deploy').length;
  return `${fused === blocks.length ? 'all' : `${fused} of ${blocks.length}`} blocks`;
}

function readBlocks(
  reader: TensorReader,
  structure: Structure,
  kernels: FusionKernels | null,
  signal: AbortSignal | undefined,
): AsyncGenerator<BlockParameters> {
  async function* inTurns(): AsyncGenerator<StoredBlock> {
    for (const block of structure.blocks) {
      // A checkpoint need not be a file that is waited for.
      await nextTurn();
      signal?.throwIfAborted();
      yield block;
    }
  }
  const read = (block: StoredBlock): Promise<BlockParameters> => readBlock(reader, block, kernels, signal);
  return workAhead(inTurns(), blocksAhead, read, () => {});
}

async function readBlock(
  reader: TensorReader,
  {shape, names, form, sum: sumNames}: StoredBlock,
  kernels: FusionKernels | null,
  signal: AbortSignal | undefined,
): Promise<BlockParameters> {
  const squeezeExcite = shape.squeezeChannels > 0 ? await reader.squeezeExcite(names) : null;
  const channels = shape.outChannels;
  const sum = sumNames && (await reader.batchNorm(sumNames, channels));
  if (form === 'deploy') {
    const convolution = sum
      ? await normalised(reader, names, sum, signal)
      : {weight: await reader.float32(names.fused.weight), bias: await reader.float32(names.fused.bias)};
    return {form, shape, ...convolution, squeezeExcite};
  }
  const branches = {
    dense: await reader.norms(names.dense, channels),
    pointwise: await reader.norms(names.pointwise, channels),
    identity: shape.identity ? await reader.batchNorm(names.identity, channels) : null,
  };
  const norms = sum ? distributeBatchNorm(branches, sum) : branches;
  if (kernels)
    return {
      form: 'deploy',
      shape,
      ...(await fused(reader, shape.index, names, norms, kernels, signal)),
      squeezeExcite,
    };
  const {dense, pointwise, identity} = norms;
  return {
    form,
    shape,
    dense: {...dense, weight: await reader.values(names.dense.weight)},
    pointwise: {...pointwise, weight: await reader.values(names.pointwise.weight)},
    identity,
    squeezeExcite,
  };
}

/** Fuses the branches of a block. */
async function fused(
  reader: TensorReader,
  index: number,
  names: BlockNames,
  norms: BranchNorms,
  kernels: FusionKernels,
  signal: AbortSignal | undefined,
): Promise<Pick<DeployBlock, 'weight' | 'bias'>> {
  const factors = blockFactors(norms);
  const dense = reader.tensor(names.dense.weight);
  const pointwise = reader.tensor(names.pointwise.weight);
  const {weight, finite} = await kernels.fuse(index, dense, pointwise, factors, signal);
  if (!finite) {
    // The tensor to blame is the first that has such a number; or else it is the sum that is too large.
    await reader.values(names.dense.weight);
    await reader.values(names.pointwise.weight);
    await reader.checkFinite(names.fused.weight, weight);
  }
  await reader.checkFinite(names.fused.bias, factors.bias);
  return {weight, bias: factors.bias};
}

/** A fused convolution and the batch normalisation behind it, as one convolution. */
async function normalised(
  reader: TensorReader,
  {fused}: BlockNames,
  batchNorm: BatchNorm,
  signal: AbortSignal | undefined,
): Promise<Pick<DeployBlock, 'weight' | 'bias'>> {
  const branch = {...(await reader.convolution(fused)), batchNorm};
  const channels = batchNorm.gamma.length;
  const fuse = (first: number, end: number): Convolution => {
    const part = channelsOfBranch(branch, channels, first, end);
    return fuseBatchNorm({kernelSize: 3, weight: part.weight, bias: part.bias}, part.batchNorm);
  };
  return fuseChannels(reader, fused, branch.weight.length, channels, fuse, signal);
}

/** Fuses a few channels at a time, so that others get their turn. */
async function fuseChannels(
  reader: TensorReader,
  fused: LayerNames,
  length: number,
  channels: number,
  fuse: (first: number, end: number) => Convolution,
  signal: AbortSignal | undefined,
): Promise<Pick<DeployBlock, 'weight' | 'bias'>> {
  const weight = new Float32Array(length);
  const bias = new Float32Array(channels);
  const taps = length / channels;
  const fuseSlice = (first: number, end: number): void => {
    const part = roundToFloat32(fuse(first, end));
    weight.set(part.weight, first * taps);
    bias.set(part.bias, first);
  };
  await inSlices(channels, fuseSlice, {itemLength: taps, signal});
  await reader.checkFinite(fused.weight, weight);
  await reader.checkFinite(fused.bias, bias);
  return {weight, bias};
}

/** Reads tensors and refuses values that no network can have. */
class TensorReader {
  readonly #path: string;
  readonly #tensors: Structure['tensors'];
  readonly #eps: Structure['eps'];

  constructor(path: string, {tensors, eps}: Structure) {
    this.#path = path;
    this.#tensors = tensors;
    this.#eps = eps;
  }

  async values(name: string): Promise<Floats> {
    const values = await this.tensor(name).read();
    await this.checkFinite(name, values);
    return values;
  }

  tensor(name: string): TensorInfo {
    return this.#tensors.get(name)!;
  }

  async float32(name: string): Promise<Float32Array> {
    const values = await this.values(name);
    if (values instanceof Float32Array) return values;
    const rounded = new Float32Array(values.length);
    await inSlices(values.length, (first, end) => rounded.set(values.subarray(first, end), first));
    await this.checkFinite(name, rounded);
    return rounded;
  }

  /** A branch without its kernel. */
  async norms(
    {bias, batchNorm}: BlockNames['dense'],
    channels: number,
  ): Promise<Omit<ConvolutionBranch, 'weight'>> {
    return {
      bias: this.#tensors.has(bias) ? await this.values(bias) : null,
      batchNorm: await this.batchNorm(batchNorm, channels),
    };
  }

  async convolution({weight, bias}: LayerNames): Promise<Pick<ConvolutionBranch, 'weight' | 'bias'>> {
    return {
      weight: await this.values(weight),
      bias: this.#tensors.has(bias) ? await this.values(bias) : null,
    };
  }

  /** Where there is none, one that changes nothing. */
  async batchNorm(names: BatchNormNames | null, channels: number): Promise<BatchNorm> {
    if (!names) return unitBatchNorm(channels);
    const eps = this.#eps!;
    const variance = await this.values(names.variance);
    const bad = variance.findIndex(value => value < 0);
    if (bad >= 0) throw this.#badValue(names.variance, 'variances of 0 or more', variance[bad]!, bad);
    const gamma = await this.values(names.gamma);
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
      if (allFinite(values, first, end)) return;
      for (let i = first; i < end; i++) {
        if (!Number.isFinite(values[i]!)) throw this.#badValue(name, 'finite float32 numbers', values[i]!, i);
      }
    });
  }

  #badValue(name: string, expected: string, value: number, index: number): RepVGGError {
    return new RepVGGError(
      'ERR_CHECKPOINT_VALUE',
      `Expected ${expected} for tensor "${name}" of ${this.#path} but received ${value} at index ${index}.`,
    );
  }
}
