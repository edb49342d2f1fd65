/**
 * The tensor names that different projects use for the same network. A dialect is a table of everything that differs
 * between projects; to support another project, add a row.
 */
import type {SqueezeExcitePosition} from '../architecture.ts';

export interface Dialect {
  name: string;
  /** The repository and file that define the names. */
  source: string;
  /** How its tensors differ from the official ones, for the documentation. */
  quirks: string;
  /** The module of stage 0, a single block. */
  stem: string;
  /** The modules whose numbered blocks make up stages 1 to 4, in order. */
  stages: readonly [readonly string[], readonly string[], readonly string[], readonly string[]];
  /** Modules within a block. */
  dense: {convolution: string; batchNorm: string};
  pointwise: {convolution: string; batchNorm: string | null};
  /** The batch normalisation of the identity branch; null if that branch is the unchanged input. */
  identity: string | null;
  /** The convolution of a fused block. */
  fused: string;
  /** The batch normalisation after the sum of the branches, or after the fused convolution. */
  sum: string | null;
  squeezeExcite: {down: string; up: string; position: SqueezeExcitePosition};
  /** The classifier. */
  linear: string;
  /** Whether the classifier's weight is [channels][numClasses]. */
  linearTransposed: boolean;
  /** The list within a convolution that stores the kernels of each group as a member of its own. */
  groupList: string | null;
  /** The parameters of a batch normalisation, and the project's epsilon. */
  batchNorm: {gamma: string; beta: string; mean: string; variance: string; eps: number};
  /** Tensors that inference does not need. */
  ignored: RegExp;
}

const pytorchBatchNorm: Dialect['batchNorm'] = {
  gamma: 'weight',
  beta: 'bias',
  mean: 'running_mean',
  variance: 'running_var',
  eps: 1e-5,
};

const official: Dialect = {
  name: 'official',
  source: 'DingXiaoH/RepVGG, repvgg.py',
  quirks: 'the files of 2021 have no batch counters',
  stem: 'stage0',
  stages: [['stage1'], ['stage2'], ['stage3'], ['stage4']],
  dense: {convolution: 'rbr_dense.conv', batchNorm: 'rbr_dense.bn'},
  pointwise: {convolution: 'rbr_1x1.conv', batchNorm: 'rbr_1x1.bn'},
  identity: 'rbr_identity',
  fused: 'rbr_reparam',
  sum: null,
  squeezeExcite: {down: 'se.down', up: 'se.up', position: 'before-relu'},
  linear: 'linear',
  linearTransposed: false,
  groupList: null,
  batchNorm: pytorchBatchNorm,
  ignored: /\.num_batches_tracked$/,
};

const plus: Dialect = {
  ...official,
  name: 'official RepVGGplus',
  source: 'DingXiaoH/RepVGG, repvggplus.py',
  quirks: 'stage 3 is split in two; the auxiliary heads used in training are ignored',
  stages: [
    ['stage1.blocks'],
    ['stage2.blocks'],
    ['stage3_first.blocks', 'stage3_second.blocks'],
    ['stage4.blocks'],
  ],
  squeezeExcite: {down: 'post_se.down', up: 'post_se.up', position: 'after-relu'},
  ignored: /\.num_batches_tracked$|^stage(1|2|3_first)_aux\./,
};

const insertedBatchNorm: Dialect = {
  ...official,
  name: 'official with inserted BN',
  source: 'DingXiaoH/RepVGG, tools/insert_bn.py',
  quirks: 'fused, with a batch normalisation after each convolution instead of its bias',
  fused: 'rbr_reparam.conv',
  sum: 'rbr_reparam.bn',
};

const timm: Dialect = {
  ...official,
  name: 'timm',
  source: 'huggingface/pytorch-image-models, byobnet.py',
  quirks: 'stages are numbered from 0',
  stem: 'stem',
  stages: [['stages.0'], ['stages.1'], ['stages.2'], ['stages.3']],
  dense: {convolution: 'conv_kxk.conv', batchNorm: 'conv_kxk.bn'},
  pointwise: {convolution: 'conv_1x1.conv', batchNorm: 'conv_1x1.bn'},
  identity: 'identity',
  fused: 'reparam_conv',
  squeezeExcite: {down: 'attn.fc1', up: 'attn.fc2', position: 'before-relu'},
  linear: 'head.fc',
};

/** The state dict of `timm.create_model(name, features_only=True)`, whose stages are not in a list. */
const timmFeatures: Dialect = {
  ...timm,
  name: 'timm features',
  quirks: 'no classifier; the network of `features_only=True`',
  stages: [['stages_0'], ['stages_1'], ['stages_2'], ['stages_3']],
};

const mmpretrain: Dialect = {
  ...official,
  name: 'mmpretrain',
  source: 'open-mmlab/mmpretrain (mmcls), backbones/repvgg.py',
  quirks: "the buffers of mmcv's EMAHook are ignored: the averages have the network's own names",
  stem: 'backbone.stem',
  stages: [['backbone.stage_1'], ['backbone.stage_2'], ['backbone.stage_3'], ['backbone.stage_4']],
  dense: {convolution: 'branch_3x3.conv', batchNorm: 'branch_3x3.norm'},
  pointwise: {convolution: 'branch_1x1.conv', batchNorm: 'branch_1x1.norm'},
  identity: 'branch_norm',
  fused: 'branch_reparam',
  squeezeExcite: {down: 'se_layer.conv1.conv', up: 'se_layer.conv2.conv', position: 'before-relu'},
  linear: 'head.fc',
  // mmcv's EMAHook swaps weights and averages before saving: the averages are under the network's own names.
  ignored: /\.num_batches_tracked$|^ema_/,
};

/** The state dict of `model.backbone`. */
const mmpretrainBackbone: Dialect = {
  ...mmpretrain,
  name: 'mmpretrain backbone',
  quirks: 'no classifier and no prefix',
  stem: 'stem',
  stages: [['stage_1'], ['stage_2'], ['stage_3'], ['stage_4']],
};

const mindCV: Dialect = {
  ...official,
  name: 'MindCV',
  source: 'mindspore-lab/mindcv, models/repvgg.py',
  quirks: "MindSpore's names for batch normalisation; optimizer state and running averages are ignored",
  dense: {convolution: 'rbr_dense.0', batchNorm: 'rbr_dense.1'},
  pointwise: {convolution: 'rbr_1x1.0', batchNorm: 'rbr_1x1.1'},
  squeezeExcite: {down: 'se.conv_reduce', up: 'se.conv_expand', position: 'before-relu'},
  batchNorm: {
    gamma: 'gamma',
    beta: 'beta',
    mean: 'moving_mean',
    variance: 'moving_variance',
    eps: 1e-5,
  },
  ignored:
    /^(moments|moment1|moment2|accum|ema|_ema_weights)\.|^(learning_rate|momentum|weight_decay|global_step|epoch_num|step_num|beta[12]_power|scale_sense|current_iterator_step|last_overflow_iterator_step)$/,
};

const mindSporeModels: Dialect = {
  ...mindCV,
  name: 'MindSpore models',
  source: 'mindspore-ai/models, research/cv/repvgg',
  quirks: 'as MindCV, but if not trained on a GPU, the kernels of each group are stored separately',
  squeezeExcite: {down: 'se.down', up: 'se.up', position: 'before-relu'},
  groupList: 'convs',
};

const paddleClas: Dialect = {
  ...official,
  name: 'PaddleClas',
  source: 'PaddlePaddle/PaddleClas, model_zoo/repvgg.py',
  quirks:
    'the classifier is transposed; evaluation adds fused kernels to the branches, and these are ignored',
  linearTransposed: true,
  batchNorm: {...pytorchBatchNorm, mean: '_mean', variance: '_variance'},
  ignored: /\.rbr_reparam\.(weight|bias)$/,
};

const basecls: Dialect = {
  ...official,
  name: 'basecls',
  source: 'megvii-research/basecls, models/repvgg.py',
  quirks:
    'grouped kernels are [groups][out / groups][in / groups][k][k], per-channel tensors are [1][C][1][1]',
  squeezeExcite: {down: 'se.f_ex.0', up: 'se.f_ex.2', position: 'before-relu'},
  linear: 'head.fc',
};

const zcls: Dialect = {
  ...official,
  name: 'ZCls',
  source: 'ZJCV/ZCls, backbones/vgg/repvgg_backbone.py',
  quirks: 'a block is a sequence of the convolution and squeeze-and-excite, which uses linear layers',
  stem: 'backbone.stage0',
  stages: [['backbone.stage1'], ['backbone.stage2'], ['backbone.stage3'], ['backbone.stage4']],
  dense: {convolution: '0.rbr_dense.conv', batchNorm: '0.rbr_dense.bn'},
  pointwise: {convolution: '0.rbr_1x1.conv', batchNorm: '0.rbr_1x1.bn'},
  identity: '0.rbr_identity',
  fused: '0',
  squeezeExcite: {down: '1.excitation.0', up: '1.excitation.2', position: 'before-relu'},
  linear: 'head.fc',
};

const qaRepVGG: Dialect = {
  ...official,
  name: 'QARepVGG',
  source: 'cxxgtxy/QARepVGG, repvgg.py (QARepVGGBlockV2)',
  quirks: 'the sum is normalised, the 1x1 and identity branches are not; no squeeze-and-excite',
  pointwise: {convolution: 'rbr_1x1', batchNorm: null},
  identity: null,
  sum: 'bn',
};

const qaRepVGGFirst: Dialect = {
  ...official,
  name: 'QARepVGG, first version',
  source: 'cxxgtxy/QARepVGG, repvgg.py (QARepVGGBlockV1)',
  quirks: 'the sum and every branch are normalised; no squeeze-and-excite',
  sum: 'bn',
};

/** If two dialects match equally many tensors, the first wins. */
export const dialects: readonly Dialect[] = [
  official,
  plus,
  insertedBatchNorm,
  timm,
  timmFeatures,
  mmpretrain,
  mmpretrainBackbone,
  mindCV,
  mindSporeModels,
  paddleClas,
  basecls,
  zcls,
  qaRepVGG,
  qaRepVGGFirst,
];
