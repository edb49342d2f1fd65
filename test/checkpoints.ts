/** Checkpoints in memory with random values, under names that are spelled out here and not taken from the tables under test. */
import {type Architecture, type BlockShape, blockShapes} from '../ts/architecture.ts';
import type {Checkpoint, TensorInfo} from '../ts/checkpoint/checkpoint.ts';
import type {DType} from '../ts/checkpoint/element_types.ts';
import type {KernelFusion} from '../ts/checkpoint/kernel_fusion.ts';
import {networkOf} from '../ts/checkpoint/network.ts';
import {checkpointStructure, type StructureOptions} from '../ts/checkpoint/structure.ts';
import type {Form, NetworkParameters} from '../ts/network.ts';
import {Random} from './random.ts';

export type Project = 'official' | 'plus' | 'timm';

/** How each project names a block and the modules in it. */
const projects: Record<
  Project,
  {block: (shape: BlockShape, numBlocks: readonly number[]) => string; names: Names}
> = {
  official: {
    block: ({stage, position}) => (stage === 0 ? 'stage0' : `stage${stage}.${position}`),
    names: {
      dense: ['rbr_dense.conv', 'rbr_dense.bn'],
      pointwise: ['rbr_1x1.conv', 'rbr_1x1.bn'],
      identity: 'rbr_identity',
      fused: 'rbr_reparam',
      squeezeExcite: ['se.down', 'se.up'],
      linear: 'linear',
    },
  },
  plus: {
    block({stage, position}, numBlocks) {
      if (stage === 0) return 'stage0';
      if (stage !== 3) return `stage${stage}.blocks.${position}`;
      const half = Math.floor(numBlocks[2]! / 2);
      return position < half ? `stage3_first.blocks.${position}` : `stage3_second.blocks.${position - half}`;
    },
    names: {
      dense: ['rbr_dense.conv', 'rbr_dense.bn'],
      pointwise: ['rbr_1x1.conv', 'rbr_1x1.bn'],
      identity: 'rbr_identity',
      fused: 'rbr_reparam',
      squeezeExcite: ['post_se.down', 'post_se.up'],
      linear: 'linear',
    },
  },
  timm: {
    block: ({stage, position}) => (stage === 0 ? 'stem' : `stages.${stage - 1}.${position}`),
    names: {
      dense: ['conv_kxk.conv', 'conv_kxk.bn'],
      pointwise: ['conv_1x1.conv', 'conv_1x1.bn'],
      identity: 'identity',
      fused: 'reparam_conv',
      squeezeExcite: ['attn.fc1', 'attn.fc2'],
      linear: 'head.fc',
    },
  },
};

interface Names {
  dense: [string, string];
  pointwise: [string, string];
  identity: string;
  fused: string;
  squeezeExcite: [string, string];
  linear: string;
}

/** The whole state dict of a network, in the form and under the names of a project. */
export function stateDict(architecture: Architecture, project: Project, form: Form): TensorInfo[] {
  const {block: blockOf, names} = projects[project];
  const tensors: TensorInfo[] = [];
  const layer = (module: string, shape: number[], bias = true): void => {
    tensors.push(randomTensor(`${module}.weight`, shape));
    if (bias) tensors.push(randomTensor(`${module}.bias`, [shape[0]!]));
  };
  const batchNorm = (module: string, channels: number): void => {
    for (const name of ['weight', 'bias', 'running_mean', 'running_var']) {
      tensors.push(randomTensor(`${module}.${name}`, [channels]));
    }
    tensors.push(tensor(`${module}.num_batches_tracked`, [], [500], 'i64'));
  };
  for (const shape of blockShapes(architecture)) {
    const {inChannels, outChannels, groups, identity, squeezeChannels} = shape;
    const block = blockOf(shape, architecture.numBlocks);
    if (squeezeChannels > 0) {
      const [down, up] = names.squeezeExcite;
      layer(`${block}.${down}`, [squeezeChannels, outChannels, 1, 1]);
      layer(`${block}.${up}`, [outChannels, squeezeChannels, 1, 1]);
    }
    if (form === 'deploy') {
      layer(`${block}.${names.fused}`, [outChannels, inChannels / groups, 3, 3]);
      continue;
    }
    if (identity) batchNorm(`${block}.${names.identity}`, outChannels);
    for (const [[convolution, norm], size] of [[names.dense, 3] as const, [names.pointwise, 1] as const]) {
      layer(`${block}.${convolution}`, [outChannels, inChannels / groups, size, size], false);
      batchNorm(`${block}.${norm}`, outChannels);
    }
  }
  if (project === 'plus' && form === 'train') {
    for (const [aux, channels] of [
      ['stage1_aux', architecture.widths[1]],
      ['stage2_aux', architecture.widths[2]],
      ['stage3_first_aux', architecture.widths[3]],
    ] as const) {
      layer(`${aux}.0.conv`, [channels, channels, 3, 3], false);
      batchNorm(`${aux}.0.bn`, channels);
      layer(`${aux}.3`, [architecture.numClasses, channels]);
    }
  }
  if (architecture.numClasses > 0) layer(names.linear, [architecture.numClasses, architecture.widths[4]]);
  return tensors;
}

export function memoryCheckpoint(tensors: Iterable<TensorInfo>): Checkpoint {
  return {
    path: 'memory.pth',
    format: 'memory',
    tensors: new Map(Array.from(tensors, info => [info.name, info])),
    checkUnchanged: async () => {},
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

export function tensor(
  name: string,
  shape: readonly number[],
  values: ArrayLike<number>,
  dtype: DType = 'f32',
): TensorInfo {
  return {
    name,
    dtype,
    shape,
    read: async () => (dtype === 'f64' ? Float64Array.from(values) : Float32Array.from(values)),
  };
}

/** Values that depend on the name alone, made when they are read: kernels keep activations near 1, variances are positive. */
export function randomTensor(name: string, shape: readonly number[]): TensorInfo {
  const size = shape.reduce((a, b) => a * b, 1);
  return {name, dtype: 'f32', shape, read: async () => randomValues(name, shape, size)};
}

function randomValues(name: string, shape: readonly number[], size: number): Float32Array {
  const [low, high] = range(name, shape, size);
  return new Random(name).uniform(size, low, high);
}

function range(name: string, shape: readonly number[], size: number): [number, number] {
  if (name.endsWith('running_var')) return [0.2, 2];
  if (shape.length === 1 && name.endsWith('.weight')) return [0.3, 1.2];
  if (shape.length === 1) return [-0.3, 0.3];
  const bound = Math.sqrt((6 * shape[0]!) / size);
  return [-bound, bound];
}

/** A state dict with one tensor replaced, or removed for null. */
export function edit(tensors: TensorInfo[], name: string, replacement: TensorInfo | null): TensorInfo[] {
  if (!tensors.some(info => info.name === name))
    throw new Error(`the test names ${name}, which does not exist`);
  return tensors.flatMap(info => (info.name === name ? (replacement ?? []) : info));
}

/** A network small enough for a float64 run in a test, with groups of 2 in its even blocks. */
export const smallNetwork: Architecture = {
  name: 'custom',
  numBlocks: [2, 2, 3, 1],
  widths: [8, 8, 12, 16, 24],
  groups: 2,
  numClasses: 10,
  squeezeExcite: null,
};

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

export function networkFromCheckpoint(
  checkpoint: Checkpoint,
  options: StructureOptions = {},
  fusion?: KernelFusion,
): NetworkParameters {
  return networkOf(checkpoint, checkpointStructure(checkpoint, options), fusion);
}
