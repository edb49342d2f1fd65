/** The parameters of a network, block by block, independent of file formats and of what is done with them. */
import type {Architecture, BlockShape} from './architecture.ts';

export type Floats = Float32Array | Float64Array;

/** Rounds to float32; returns the array itself if it is one already. */
export function toFloat32(values: Floats): Float32Array {
  return values instanceof Float32Array ? values : new Float32Array(values);
}

/** The form a network runs in: one fused convolution per block, or the three training-time branches. */
export type Form = 'deploy' | 'train';

export interface SqueezeExciteParameters {
  /** [squeezeChannels][outChannels] */
  downWeight: Float32Array;
  downBias: Float32Array;
  /** [outChannels][squeezeChannels] */
  upWeight: Float32Array;
  upBias: Float32Array;
}

/** A block after fusion: ReLU(conv3x3(x) + bias). */
export interface DeployBlock {
  form: 'deploy';
  shape: BlockShape;
  /** [outChannels][inChannels / groups][3][3] */
  weight: Float32Array;
  /** [outChannels] */
  bias: Float32Array;
  squeezeExcite: SqueezeExciteParameters | null;
}

/** A batch normalisation over C channels at inference: y = gamma * (x - mean) / sqrt(variance + eps) + beta. */
export interface BatchNorm {
  gamma: Floats;
  beta: Floats;
  mean: Floats;
  variance: Floats;
  /** Most checkpoints do not store it: it is a default of the project (see checkpoint/dialects.ts). */
  eps: number;
}

/** A convolution of a block as trained, in the checkpoint's precision, and the batch normalisation after it. */
export interface ConvolutionBranch {
  /** [outChannels][inChannels / groups][k][k], k = 3 for the dense branch and 1 for the pointwise */
  weight: Floats;
  /** [outChannels]; null in the official networks */
  bias: Floats | null;
  batchNorm: BatchNorm;
}

/** The branches of a block as trained, without their kernels. */
export interface BranchNorms {
  dense: Omit<ConvolutionBranch, 'weight'>;
  pointwise: Omit<ConvolutionBranch, 'weight'>;
  identity: BatchNorm | null;
}

/** A block as trained: ReLU(BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x)), the last only where the shape has an identity. */
export interface TrainBlock {
  form: 'train';
  shape: BlockShape;
  dense: ConvolutionBranch;
  pointwise: ConvolutionBranch;
  identity: BatchNorm | null;
  squeezeExcite: SqueezeExciteParameters | null;
}

export type BlockParameters = DeployBlock | TrainBlock;

export interface LinearParameters {
  /** [numClasses][channels] */
  weight: Float32Array;
  /** [numClasses] */
  bias: Float32Array;
}

/** The parameters of a network, read on demand, block by block in order. */
export interface NetworkParameters {
  readonly architecture: Architecture;
  /**
   * The form in which the parameters are stored: 'deploy' if any block is fused. A stored train form can be read as 'deploy'
   * (fused), never the reverse.
   */
  readonly storedForm: Form;
  /**
   * Reads, and fuses for 'deploy', without blocking the event loop for more than some milliseconds. Once the signal is
   * aborted, the iteration throws its reason.
   *
   * @throws {RepVGGError} ERR_INVALID_ARGUMENT for 'train' if the stored form is 'deploy'
   */
  blocks(form: Form, signal?: AbortSignal): AsyncIterable<BlockParameters>;
  /** The classifier, or null for a backbone without one. It may be read concurrently with the blocks. */
  linear(): Promise<LinearParameters | null>;
}
