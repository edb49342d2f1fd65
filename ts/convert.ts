import {stat} from 'node:fs/promises';
import {type Architecture, type BlockShape, blockName, blockShapes} from './architecture.ts';
import {checkOptions, checkSignal} from './arguments.ts';
import {networkFromCheckpoint} from './checkpoint/network.ts';
import {openCheckpoint} from './checkpoint/open.ts';
import {type TensorToWrite, writePyTorch} from './checkpoint/write_pytorch.ts';
import {digits} from './digits.ts';
import type {DeployBlock, Form, NetworkParameters} from './network.ts';
import {layerTable} from './statistics.ts';

export interface ConvertOptions {
  /** What the checkpoint must hold: an official name, or an architecture. Default: inferred from its shapes. */
  architecture?: string | Architecture | undefined;
  /** Ends the call early: it then rejects with the signal's reason, and what was at `to` stays. */
  signal?: AbortSignal | undefined;
}

/** What {@link convertCheckpoint} did. */
export interface Conversion {
  architecture: Architecture;
  /** The form of the checkpoint that was read. */
  storedForm: Form;
  /** Blocks whose branches were fused; 0 where they were fused already. */
  fusedBlocks: number;
  /** Parameters of the network that was read and of the one that was written. */
  parameters: {before: number; after: number};
  /** Size of the file written. */
  bytes: number;
}

/**
 * Fuses the branches of a checkpoint and writes the result as the official code's `tools/convert.py` does: a PyTorch
 * state dict with the names, shapes and order of the official network with `deploy=True` (repvgg.py, or repvggplus.py
 * where squeeze-and-excite comes after the ReLU), float32. A checkpoint that is fused already gets those names and is
 * otherwise copied, so this also turns timm's deploy form into the official one.
 *
 * Memory stays near the largest block. `to` may be the same file as `from`: it is replaced when the new one is complete.
 *
 * @param from a checkpoint file, or "digits"
 * @throws {RepVGGError} the codes of reading a checkpoint, ERR_FILE_WRITE
 */
export async function convertCheckpoint(
  from: string,
  to: string,
  options: ConvertOptions = {},
): Promise<Conversion> {
  checkOptions(options);
  const {signal} = options;
  checkSignal(signal);
  signal?.throwIfAborted();
  await using file = await openCheckpoint(from === 'digits' ? digits.checkpoint : from);
  const network = networkFromCheckpoint(file, options);
  const {architecture, storedForm} = network;
  await writePyTorch(to, await deployStateDict(network, signal), signal);
  const {total} = layerTable(architecture, {height: 224, width: 224});
  return {
    architecture,
    storedForm,
    fusedBlocks: storedForm === 'train' ? blockShapes(architecture).length : 0,
    parameters: {
      before: storedForm === 'train' ? total.trainParameters : total.deployParameters,
      after: total.deployParameters,
    },
    bytes: (await stat(to)).size,
  };
}

/** The tensors of the official deploy form. Blocks are read and fused as their first tensor is asked for. */
export async function deployStateDict(
  network: NetworkParameters,
  signal?: AbortSignal,
): Promise<TensorToWrite[]> {
  const {architecture} = network;
  const blocks = network.blocks('deploy', signal)[Symbol.asyncIterator]();
  let current: DeployBlock | undefined;
  const blockAt = async (index: number): Promise<DeployBlock> => {
    if (current?.shape.index !== index) current = (await blocks.next()).value as DeployBlock;
    return current;
  };
  const tensors: TensorToWrite[] = blockShapes(architecture).flatMap(shape =>
    blockTensors(architecture, shape).map(({name, shape: sizes, of}) => ({
      name,
      shape: sizes,
      dtype: 'f32',
      values: async () => of(await blockAt(shape.index)),
    })),
  );
  const linear = await network.linear();
  if (linear) {
    const {numClasses, widths} = architecture;
    const {weight, bias} = linear;
    tensors.push(
      {name: 'linear.weight', shape: [numClasses, widths[4]], dtype: 'f32', values: async () => weight},
      {name: 'linear.bias', shape: [numClasses], dtype: 'f32', values: async () => bias},
    );
  }
  return tensors;
}

interface BlockTensor {
  name: string;
  shape: number[];
  of(block: DeployBlock): Float32Array;
}

/** In the order of the official state dict: a block makes its squeeze-and-excite first. */
function blockTensors(architecture: Architecture, shape: BlockShape): BlockTensor[] {
  const {inChannels, outChannels, groups, squeezeChannels} = shape;
  const module = blockModule(architecture, shape);
  const tensors: BlockTensor[] = [];
  if (squeezeChannels > 0) {
    const se = `${module}.${isPlus(architecture) ? 'post_se' : 'se'}`;
    const [hidden, out] = [squeezeChannels, outChannels];
    tensors.push(
      {name: `${se}.down.weight`, shape: [hidden, out, 1, 1], of: b => b.squeezeExcite!.downWeight},
      {name: `${se}.down.bias`, shape: [hidden], of: b => b.squeezeExcite!.downBias},
      {name: `${se}.up.weight`, shape: [out, hidden, 1, 1], of: b => b.squeezeExcite!.upWeight},
      {name: `${se}.up.bias`, shape: [out], of: b => b.squeezeExcite!.upBias},
    );
  }
  tensors.push(
    {
      name: `${module}.rbr_reparam.weight`,
      shape: [outChannels, inChannels / groups, 3, 3],
      of: b => b.weight,
    },
    {name: `${module}.rbr_reparam.bias`, shape: [outChannels], of: b => b.bias},
  );
  return tensors;
}

/** repvggplus.py puts the blocks of a stage one name deeper, and those of stage 3 into two halves. */
function blockModule(architecture: Architecture, {stage, position}: BlockShape): string {
  if (!isPlus(architecture) || stage === 0) return blockName({stage, position});
  if (stage !== 3) return `stage${stage}.blocks.${position}`;
  const half = Math.trunc(architecture.numBlocks[2] / 2);
  return position < half ? `stage3_first.blocks.${position}` : `stage3_second.blocks.${position - half}`;
}

function isPlus({squeezeExcite}: Architecture): boolean {
  return squeezeExcite?.position === 'after-relu';
}
