/** A network with the names, shapes and order of the official code: repvgg.py, or repvggplus.py for RepVGGplus. */
import {type Architecture, type BlockShape, blockName, blockShapes} from '../architecture.ts';
import {
  type BatchNorm,
  type BlockParameters,
  type ConvolutionBranch,
  type DeployBlock,
  type Floats,
  type Form,
  type NetworkParameters,
  type TrainBlock,
  toFloat32,
} from '../network.ts';
import type {TensorToWrite} from './state_dict.ts';

/** The default of PyTorch's BatchNorm2d, with which a file that states none is read. */
const officialEps = 1e-5;

/**
 * The tensors of a network in a form, float32. A block is read, and fused for 'deploy', when its first tensor is requested;
 * tensors must be requested in order. The counters `num_batches_tracked`, which PyTorch fills in, and the auxiliary heads of
 * RepVGGplus are left out.
 */
export async function officialStateDict(
  network: NetworkParameters,
  form: Form,
  signal?: AbortSignal,
): Promise<TensorToWrite[]> {
  const {architecture} = network;
  const shapes = blockShapes(architecture);
  const blocks = network.blocks(form, signal)[Symbol.asyncIterator]();
  let current: BlockParameters | undefined;
  const blockAt = async (index: number): Promise<BlockParameters> => {
    if (current?.shape.index !== index) {
      current = (await blocks.next()).value as BlockParameters;
      // Ends the iteration, which checks that the file was not modified.
      if (index === shapes.length - 1) await blocks.next();
    }
    return current;
  };
  const tensors: TensorToWrite[] = shapes.flatMap(shape =>
    blockTensors(architecture, shape, form).map(({name, shape: sizes, of}) => ({
      name,
      shape: sizes,
      values: async () => of(await blockAt(shape.index)),
    })),
  );
  const linear = await network.linear();
  if (linear) {
    const {numClasses, widths} = architecture;
    const {weight, bias} = linear;
    tensors.push(
      {name: 'linear.weight', shape: [numClasses, widths[4]], values: async () => weight},
      {name: 'linear.bias', shape: [numClasses], values: async () => bias},
    );
  }
  return tensors;
}

interface BlockTensor<Block = BlockParameters> {
  name: string;
  shape: number[];
  of(block: Block): Float32Array;
}

/** In the order of the official state dict: squeeze-and-excite first, then the identity branch. */
function blockTensors(architecture: Architecture, shape: BlockShape, form: Form): BlockTensor[] {
  const {outChannels, squeezeChannels} = shape;
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
  const rest = form === 'deploy' ? fusedTensors(module, shape) : branchTensors(module, shape);
  return [...tensors, ...(rest as BlockTensor[])];
}

function fusedTensors(module: string, shape: BlockShape): BlockTensor<DeployBlock>[] {
  return [
    {name: `${module}.rbr_reparam.weight`, shape: kernelShape(shape, 3), of: b => b.weight},
    {name: `${module}.rbr_reparam.bias`, shape: [shape.outChannels], of: b => b.bias},
  ];
}

function branchTensors(module: string, shape: BlockShape): BlockTensor<TrainBlock>[] {
  const norm = (
    name: string,
    of: (block: TrainBlock) => {batchNorm: BatchNorm; bias?: Floats | null},
  ): BlockTensor<TrainBlock>[] => {
    const tensor = (leaf: string, values: (norm: BatchNorm, bias: Floats | null) => Floats) => ({
      name: `${module}.${name}.${leaf}`,
      shape: [shape.outChannels],
      of(block: TrainBlock): Float32Array {
        const {batchNorm, bias = null} = of(block);
        return toFloat32(values(batchNorm, bias));
      },
    });
    return [
      tensor('weight', officialGamma),
      tensor('bias', ({beta}) => beta),
      tensor('running_mean', ({mean}, bias) => (bias ? mean.map((value, i) => value - bias[i]!) : mean)),
      tensor('running_var', officialVariance),
    ];
  };
  const branch = (
    name: string,
    size: 1 | 3,
    of: (block: TrainBlock) => ConvolutionBranch,
  ): BlockTensor<TrainBlock>[] => [
    {
      name: `${module}.${name}.conv.weight`,
      shape: kernelShape(shape, size),
      of: block => toFloat32(of(block).weight),
    },
    ...norm(`${name}.bn`, of),
  ];
  return [
    ...(shape.identity ? norm('rbr_identity', ({identity}) => ({batchNorm: identity!})) : []),
    ...branch('rbr_dense', 3, ({dense}) => dense),
    ...branch('rbr_1x1', 1, ({pointwise}) => pointwise),
  ];
}

/** The variance that results in the same scale with the official eps; 0 if it would have to be negative. */
function officialVariance({variance, eps}: BatchNorm): Floats {
  if (eps === officialEps) return variance;
  return Float64Array.from(variance, value => Math.max(0, value + eps - officialEps));
}

/** The gamma that results in the same scale with {@link officialVariance}. */
function officialGamma({gamma, variance, eps}: BatchNorm): Floats {
  if (eps >= officialEps) return gamma;
  return Float64Array.from(gamma, (value, i) => {
    const sum = variance[i]! + eps;
    return sum >= officialEps ? value : value * Math.sqrt(officialEps / sum);
  });
}

function kernelShape({inChannels, outChannels, groups}: BlockShape, size: 1 | 3): number[] {
  return [outChannels, inChannels / groups, size, size];
}

/** repvggplus.py nests the blocks of a stage one level deeper, and splits stage 3 in two. */
function blockModule(architecture: Architecture, {stage, position}: BlockShape): string {
  if (!isPlus(architecture) || stage === 0) return blockName({stage, position});
  if (stage !== 3) return `stage${stage}.blocks.${position}`;
  const half = Math.trunc(architecture.numBlocks[2] / 2);
  return position < half ? `stage3_first.blocks.${position}` : `stage3_second.blocks.${position - half}`;
}

function isPlus({squeezeExcite}: Architecture): boolean {
  return squeezeExcite?.position === 'after-relu';
}
