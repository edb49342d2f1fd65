import {setImmediate as nextTurn} from 'node:timers/promises';
import {invalidArgument} from '../errors.ts';
import {scaleKernels} from '../fusion/fuse_rows.ts';
import {blockFactors, distributeBatchNorm, fusedBias, scaleOf} from '../fusion/fusion.ts';
import type {BatchNorm, BlockParameters, BranchNorms, DeployBlock, NetworkParameters} from '../network.ts';
import {workAhead} from '../support/ahead.ts';
import type {BlockNames} from './block_names.ts';
import type {Checkpoint} from './checkpoint.ts';
import {type KernelFusion, plainFusion} from './kernel_fusion.ts';
import type {StoredBlock, Structure} from './structure.ts';
import {type Kernels, TensorReader} from './tensor_reader.ts';

/** Blocks in progress: the small tensors of one are read while the kernels of another are fused. Each takes memory. */
const blocksAhead = 2;

/**
 * The parameters of a network whose structure has been found. The checkpoint must stay open while they are read.
 *
 * @throws {RepVGGError} while reading: ERR_CHECKPOINT_VALUE for a value that is not finite, a negative variance, or only zeros where a
 *   trained network has none
 */
export function networkOf(
  checkpoint: Checkpoint,
  structure: Structure,
  fusion: KernelFusion = plainFusion,
): NetworkParameters {
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
      return readBlocks(checkpoint, reader, structure, form === 'deploy' ? fusion : null, signal);
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

async function* readBlocks(
  checkpoint: Checkpoint,
  reader: TensorReader,
  structure: Structure,
  fusion: KernelFusion | null,
  signal: AbortSignal | undefined,
): AsyncGenerator<BlockParameters> {
  async function* inTurns(): AsyncGenerator<StoredBlock> {
    for (const block of structure.blocks) {
      // Reading does not always wait for a file, which would let other work run.
      await nextTurn();
      signal?.throwIfAborted();
      yield block;
    }
  }
  const read = (block: StoredBlock): Promise<BlockParameters> => readBlock(reader, block, fusion, signal);
  yield* workAhead(inTurns(), blocksAhead, read, () => {});
  await checkpoint.checkUnchanged();
}

async function readBlock(
  reader: TensorReader,
  {shape, names, form, sum: sumNames}: StoredBlock,
  fusion: KernelFusion | null,
  signal: AbortSignal | undefined,
): Promise<BlockParameters> {
  const squeezeExcite = shape.squeezeChannels > 0 ? await reader.squeezeExcite(names) : null;
  const channels = shape.outChannels;
  const sum = sumNames && (await reader.batchNorm(sumNames, channels));
  if (form === 'deploy') {
    const convolution = sum
      ? await normalised(reader, names, sum, signal)
      : {
          weight: await reader.fusedKernelFloat32(names.fused.weight),
          bias: await reader.float32(names.fused.bias),
        };
    return {form, shape, ...convolution, squeezeExcite};
  }
  const branches = {
    dense: await reader.norms(names.dense, channels),
    pointwise: await reader.norms(names.pointwise, channels),
    identity: shape.identity ? await reader.batchNorm(names.identity, channels) : null,
  };
  const kernels = await reader.kernels(names);
  const norms = sum ? distributeBatchNorm(branches, sum) : branches;
  if (fusion)
    return {
      form: 'deploy',
      shape,
      ...(await fused(reader, shape.index, names, kernels, norms, fusion, signal)),
      squeezeExcite,
    };
  const {dense, pointwise, identity} = norms;
  return {
    form,
    shape,
    dense: {...dense, weight: await reader.values(names.dense.weight, kernels.dense)},
    pointwise: {...pointwise, weight: await reader.values(names.pointwise.weight, kernels.pointwise)},
    identity,
    squeezeExcite,
  };
}

/** Fuses the branches of a block. */
async function fused(
  reader: TensorReader,
  index: number,
  names: BlockNames,
  {dense, pointwise}: Kernels,
  norms: BranchNorms,
  fusion: KernelFusion,
  signal: AbortSignal | undefined,
): Promise<Pick<DeployBlock, 'weight' | 'bias'>> {
  const factors = blockFactors(norms);
  const {weight, finite} = await fusion.fuse(index, dense, pointwise, factors, signal);
  if (!finite) {
    // Report the first tensor with such a value; if there is none, the sum of finite values overflows.
    await reader.values(names.dense.weight);
    await reader.values(names.pointwise.weight);
    await reader.checkFinite(names.fused.weight, weight);
  }
  await reader.checkFinite(names.fused.bias, factors.bias);
  return {weight, bias: factors.bias};
}

/** Fuses a convolution and the batch normalisation after it. */
async function normalised(
  reader: TensorReader,
  {fused}: BlockNames,
  batchNorm: BatchNorm,
  signal: AbortSignal | undefined,
): Promise<Pick<DeployBlock, 'weight' | 'bias'>> {
  const scale = scaleOf(batchNorm);
  const weight = await scaleKernels(await reader.fusedKernel(fused.weight), scale, signal);
  const bias = new Float32Array(fusedBias(batchNorm, scale, await reader.bias(fused)));
  await reader.checkFinite(fused.weight, weight);
  await reader.checkFinite(fused.bias, bias);
  return {weight, bias};
}
