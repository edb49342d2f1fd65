/**
 * The names that projects give to the tensors of one and the same network. Each dialect is a table, and everything
 * that differs between projects is in it: to add one is to add a row.
 */
import type {SqueezeExcitePosition} from '../architecture.ts';
import {RepVGGError} from '../errors.ts';
import type {Checkpoint} from './checkpoint.ts';

export interface Dialect {
  name: string;
  /** The module of the one block of stage 0. */
  stem: string;
  /** The modules whose numbered blocks make up stages 1 to 4; the blocks of several modules follow one another. */
  stages: readonly [readonly string[], readonly string[], readonly string[], readonly string[]];
  /** The modules of a block. */
  dense: {convolution: string; batchNorm: string};
  pointwise: {convolution: string; batchNorm: string};
  /** The batch normalisation of the identity branch. */
  identity: string;
  /** The one convolution of a fused block. */
  fused: string;
  squeezeExcite: {down: string; up: string; position: SqueezeExcitePosition};
  /** The classifier. */
  linear: string;
  /** The parameters of a batch normalisation, and what its project adds to the variance. */
  batchNorm: {gamma: string; beta: string; mean: string; variance: string; eps: number};
  /** Tensors that inference has no use for. */
  ignored: RegExp;
}

const pytorchBatchNorm: Dialect['batchNorm'] = {
  gamma: 'weight',
  beta: 'bias',
  mean: 'running_mean',
  variance: 'running_var',
  eps: 1e-5,
};

/** github.com/DingXiaoH/RepVGG, repvgg.py. */
const official: Dialect = {
  name: 'official',
  stem: 'stage0',
  stages: [['stage1'], ['stage2'], ['stage3'], ['stage4']],
  dense: {convolution: 'rbr_dense.conv', batchNorm: 'rbr_dense.bn'},
  pointwise: {convolution: 'rbr_1x1.conv', batchNorm: 'rbr_1x1.bn'},
  identity: 'rbr_identity',
  fused: 'rbr_reparam',
  squeezeExcite: {down: 'se.down', up: 'se.up', position: 'before-relu'},
  linear: 'linear',
  batchNorm: pytorchBatchNorm,
  ignored: /\.num_batches_tracked$/,
};

/** github.com/DingXiaoH/RepVGG, repvggplus.py: stage 3 in two halves, and auxiliary classifiers while training. */
const plus: Dialect = {
  ...official,
  name: 'official RepVGGplus',
  stages: [
    ['stage1.blocks'],
    ['stage2.blocks'],
    ['stage3_first.blocks', 'stage3_second.blocks'],
    ['stage4.blocks'],
  ],
  squeezeExcite: {down: 'post_se.down', up: 'post_se.up', position: 'after-relu'},
  ignored: /\.num_batches_tracked$|^stage(1|2|3_first)_aux\./,
};

/** github.com/huggingface/pytorch-image-models, byobnet.py. */
const timm: Dialect = {
  name: 'timm',
  stem: 'stem',
  stages: [['stages.0'], ['stages.1'], ['stages.2'], ['stages.3']],
  dense: {convolution: 'conv_kxk.conv', batchNorm: 'conv_kxk.bn'},
  pointwise: {convolution: 'conv_1x1.conv', batchNorm: 'conv_1x1.bn'},
  identity: 'identity',
  fused: 'reparam_conv',
  squeezeExcite: {down: 'attn.fc1', up: 'attn.fc2', position: 'before-relu'},
  linear: 'head.fc',
  batchNorm: pytorchBatchNorm,
  ignored: /\.num_batches_tracked$/,
};

export const dialects: readonly Dialect[] = [official, plus, timm];

export interface BatchNormNames {
  gamma: string;
  beta: string;
  mean: string;
  variance: string;
}

export interface LayerNames {
  weight: string;
  bias: string;
}

/** The names of all tensors that a block can have, in any form. */
export interface BlockNames {
  fused: LayerNames;
  dense: LayerNames & {batchNorm: BatchNormNames};
  pointwise: LayerNames & {batchNorm: BatchNormNames};
  identity: BatchNormNames;
  squeezeExcite: {down: LayerNames; up: LayerNames};
}

/** The names of a convolution's or linear layer's tensors. */
export function layerNames(module: string): LayerNames {
  return {weight: `${module}.weight`, bias: `${module}.bias`};
}

function blockNames(dialect: Dialect, block: string): BlockNames {
  const {dense, pointwise, identity, fused, squeezeExcite, batchNorm} = dialect;
  const layer = (module: string): LayerNames => layerNames(`${block}.${module}`);
  const norm = (module: string): BatchNormNames => ({
    gamma: `${block}.${module}.${batchNorm.gamma}`,
    beta: `${block}.${module}.${batchNorm.beta}`,
    mean: `${block}.${module}.${batchNorm.mean}`,
    variance: `${block}.${module}.${batchNorm.variance}`,
  });
  return {
    fused: layer(fused),
    dense: {...layer(dense.convolution), batchNorm: norm(dense.batchNorm)},
    pointwise: {...layer(pointwise.convolution), batchNorm: norm(pointwise.batchNorm)},
    identity: norm(identity),
    squeezeExcite: {down: layer(squeezeExcite.down), up: layer(squeezeExcite.up)},
  };
}

/** A checkpoint's dialect, and the names of its blocks: stage by stage, block by block. */
export interface NamedBlocks {
  dialect: Dialect;
  stages: readonly (readonly BlockNames[])[];
}

/**
 * Finds out whose names a checkpoint uses, from the names alone: file names and metadata often lie. It is the dialect
 * that knows the most of its tensors, so a checkpoint that lacks some is still recognised and can be told what it lacks.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED when no dialect knows a block of it
 */
export function recogniseBlocks({path, tensors}: Checkpoint): NamedBlocks {
  let best: {dialect: Dialect; known: number; counts: Map<string, number>} | undefined;
  for (const dialect of dialects) {
    const pattern = blockTensorPattern(dialect);
    /** Blocks of each module: the highest number in use, so that a gap shows up as a missing tensor. */
    const counts = new Map<string, number>();
    let known = 0;
    for (const name of tensors.keys()) {
      const groups = pattern.exec(name)?.groups;
      if (!groups) continue;
      known++;
      if (groups.module !== undefined) {
        counts.set(groups.module, Math.max(counts.get(groups.module) ?? 0, Number(groups.position) + 1));
      }
    }
    if (known > (best?.known ?? 0)) best = {dialect, known, counts};
  }
  if (!best) {
    const [first] = tensors.keys();
    const received =
      first === undefined ? 'no tensor' : `${tensors.size} tensors such as ${JSON.stringify(first)}`;
    const examples = dialects.map(
      dialect => `"${blockNames(dialect, dialect.stem).dense.weight}" (${dialect.name})`,
    );
    throw new RepVGGError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `Expected the tensors of a RepVGG network in ${path}, such as ${examples.join(', ')}, but received ${received}.`,
    );
  }
  const {dialect, counts} = best;
  const stages = dialect.stages.map(modules =>
    modules.flatMap(module =>
      Array.from({length: counts.get(module) ?? 0}, (_, n) => blockNames(dialect, `${module}.${n}`)),
    ),
  );
  return {dialect, stages: [[blockNames(dialect, dialect.stem)], ...stages]};
}

/** Matches the name of any tensor of any block; `module` and `position` are those of the blocks behind the stem. */
function blockTensorPattern(dialect: Dialect): RegExp {
  const escaped = (text: string): string => text.replaceAll('.', '\\.');
  const modules = dialect.stages.flat().map(escaped).join('|');
  const tensors = leaves(blockNames(dialect, '')).map(escaped).join('|');
  return new RegExp(
    `^(?:${escaped(dialect.stem)}|(?<module>${modules})\\.(?<position>0|[1-9]\\d{0,2}))(?:${tensors})$`,
  );
}

function leaves(names: object): string[] {
  return Object.values(names).flatMap(value => (typeof value === 'string' ? [value] : leaves(value)));
}
