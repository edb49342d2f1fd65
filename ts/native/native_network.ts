import {type Architecture, blockShapes} from '../architecture.ts';
import {invalidArgument} from '../errors.ts';
import {type BatchNorm, type BlockParameters, type Form, type TrainBlock, toFloat32} from '../network.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {
  type NativeBatchNorm,
  type NativeBlock,
  type NativeNetwork,
  type NativeNetworkOptions,
  type NativeNetworkShape,
  type NativeTrainBranch,
  type NetworkDescription,
  native,
} from './addon.ts';
import type {Placement, Precision} from './device.ts';
import {type GroupMember, NetworkGroup} from './network_group.ts';

/** How a network runs. */
export async function describeNetwork(network: NativeNetwork): Promise<NetworkDescription> {
  return JSON.parse(await network.describe()) as NetworkDescription;
}

/**
 * Creates a network without parameters, on all members of the device or on none. The environment variable `REPVGG_ALGORITHM` pins an
 * algorithm where it is supported.
 */
export async function createNetwork(
  shape: NativeNetworkShape,
  {device, precision}: Placement,
  options: Pick<NativeNetworkOptions, 'batchSize' | 'threads' | 'winograd'>,
): Promise<NativeNetwork> {
  const algorithm = process.env.REPVGG_ALGORITHM as NativeNetworkOptions['algorithm'];
  if (algorithm && !['direct', 'f2', 'f4x2', 'f4', 'fused'].includes(algorithm)) {
    throw invalidArgument('REPVGG_ALGORITHM', '"direct", "f2", "f4x2", "f4" or "fused"', algorithm);
  }
  const members: GroupMember[] = [];
  try {
    for (const name of device.members) {
      const network = new (native().Network)(shape, {
        backend: name,
        precision: nativePrecision(precision),
        ...options,
        ...(algorithm && {algorithm}),
      });
      members.push({name, network});
    }
  } catch (error) {
    await Promise.all(members.map(({network}) => network.dispose()));
    throw error;
  }
  return members.length === 1 ? members[0]!.network : new NetworkGroup(members);
}

/** Lets `await using` dispose of a network. */
export function disposing(network: NativeNetwork): AsyncDisposable & {network: NativeNetwork} {
  return {network, [Symbol.asyncDispose]: () => network.dispose()};
}

/** The addon's name of a precision. */
export function nativePrecision(precision: Exclude<Precision, 'auto'>): NativeNetworkOptions['precision'] {
  return precision === 'fp8-simulated' ? 'fp8' : precision;
}

/** Describes a network to the addon: blocks without stages or names. */
export function toNativeShape(
  architecture: Architecture,
  form: Form,
  {crop, mean, std}: Pick<Preprocessing, 'crop' | 'mean' | 'std'>,
): NativeNetworkShape {
  const {numClasses, squeezeExcite} = architecture;
  return {
    form,
    squeezeExcite: squeezeExcite?.position ?? null,
    blocks: blockShapes(architecture),
    numClasses,
    height: crop,
    width: crop,
    mean,
    std,
  };
}

/** Rounds float64 parameters to float32, in which the addon computes. */
export function toNativeBlock(block: BlockParameters): NativeBlock {
  if (block.form === 'deploy') return block;
  return {
    dense: toNativeBranch(block.dense),
    pointwise: toNativeBranch(block.pointwise),
    identity: block.identity && toNativeBatchNorm(block.identity),
    squeezeExcite: block.squeezeExcite,
  };
}

function toNativeBranch({weight, bias, batchNorm}: TrainBlock['dense']): NativeTrainBranch {
  return {weight: toFloat32(weight), bias: bias && toFloat32(bias), batchNorm: toNativeBatchNorm(batchNorm)};
}

function toNativeBatchNorm({gamma, beta, mean, variance, eps}: BatchNorm): NativeBatchNorm {
  return {
    gamma: toFloat32(gamma),
    beta: toFloat32(beta),
    mean: toFloat32(mean),
    variance: toFloat32(variance),
    eps,
  };
}
