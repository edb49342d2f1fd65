import {scaleKernels} from '../../fusion/fuse_rows.ts';
import {fusedBias, scaleOf} from '../../fusion/fusion.ts';
import type {BatchNorm} from '../../network.ts';
import type {PreprocessingOptions} from '../../preprocessing.ts';
import type {StateDict, TensorInfo} from '../checkpoint.ts';
import {type CheckpointFile, printable} from '../file.ts';
import {readUse} from '../use_metadata.ts';
import {type Block, onnxNetwork} from './blocks.ts';
import type {OnnxWeight} from './graph.ts';
import {type Convolution, type Normalisation, onnxEps} from './layers.ts';
import {readOnnxMetadata} from './metadata.ts';
import {parseOnnx} from './model.ts';

/**
 * Reads a RepVGG network that was exported to ONNX, in deploy or train form, and gives its tensors the official names.
 * Tensors are identified by the graph, not by name: when exporters fold batch normalisation into convolutions, they number
 * the results, or keep the name of the unfolded weight.
 *
 * Where batch normalisation was folded, an identity takes its place.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED if the graph is not a chain of RepVGG blocks; also those of `parseOnnx`
 */
export async function readOnnx(file: CheckpointFile): Promise<StateDict> {
  const {inputSize, blocks, head} = onnxNetwork(await parseOnnx(file), file);
  const norms = blocks.flatMap(({dense, pointwise, identity}) => [
    dense.batchNorm,
    pointwise?.batchNorm,
    identity,
  ]);
  // A state dict has one epsilon; the least of all shifts no variance below 0.
  const eps = Math.min(onnxEps, ...norms.map(norm => norm?.eps ?? onnxEps));
  const tensors = new Map<string, TensorInfo>();
  const add: Add = (name, tensor) => tensors.set(name, {...tensor, name});
  const gates = new Set(blocks.flatMap(({gate}) => gate?.position ?? []));
  const names = moduleNames(blocks, gates.has('after-relu'), file);
  for (const [i, block] of blocks.entries()) {
    const module = names[i]!;
    const {dense, pointwise, identity, gate} = block;
    if (gate) {
      const se = `${module}.${gate.position === 'after-relu' ? 'post_se' : 'se'}`;
      for (const part of ['down', 'up'] as const) {
        add(`${se}.${part}.weight`, gate[part].weight);
        add(`${se}.${part}.bias`, gate[part].bias ?? constant(gate[part].channels, 0));
      }
    }
    if (!pointwise && !identity) {
      addFused(`${module}.rbr_reparam`, dense, add);
      continue;
    }
    if (identity) addBatchNorm(`${module}.rbr_identity`, identity, eps, add);
    addBranch(`${module}.rbr_dense`, dense, eps, add);
    if (pointwise) addBranch(`${module}.rbr_1x1`, pointwise, eps, add);
  }
  if (head) {
    add('linear.weight', head.weight);
    add('linear.bias', head.bias ?? constant(head.weight.shape[0]!, 0));
  }
  const {preprocessing = ofSize(inputSize), labels} = readUse(await readOnnxMetadata(file), file);
  return {tensors, eps, preprocessing, labels};
}

/** The preprocessing of a model that states no more than its fixed input size. */
function ofSize(size: number | null): PreprocessingOptions | undefined {
  return size !== null && size > 0 && size <= 4096 ? {crop: size} : undefined;
}

type Add = (name: string, tensor: OnnxWeight) => unknown;

/** The official module name of each block. Every block of stride 2 begins a stage; stage 0 has one block. */
function moduleNames(blocks: readonly Block[], isPlus: boolean, file: CheckpointFile): string[] {
  let [stage, position] = [-1, 0];
  const names = blocks.map(({dense}) => {
    if (dense.stride === 2) [stage, position] = [stage + 1, 0];
    const half = stage === 3 ? '_first' : '';
    const module = isPlus ? `stage${stage}${half}.blocks.${position++}` : `stage${stage}.${position++}`;
    return stage === 0 ? 'stage0' : module;
  });
  if (stage === 4 && names[0] === 'stage0' && names[1] !== 'stage0') return names;
  const strides = blocks.map(({dense}) => dense.stride).join(', ');
  const problem = `its graph is not a RepVGG network: ${blocks.length} blocks of strides ${printable(strides) || 'none'}`;
  throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', `${problem}, where five have 2, the first two among them`);
}

function addBranch(
  module: string,
  {weight, bias, batchNorm, channels}: Convolution,
  eps: number,
  add: Add,
): void {
  add(`${module}.conv.weight`, weight);
  if (bias) add(`${module}.conv.bias`, bias);
  addBatchNorm(`${module}.bn`, batchNorm ?? neutral(channels, eps), eps, add);
}

function addBatchNorm(module: string, norm: Normalisation, eps: number, add: Add): void {
  add(`${module}.weight`, norm.gamma);
  add(`${module}.bias`, norm.beta);
  add(`${module}.running_mean`, norm.mean);
  add(`${module}.running_var`, norm.eps === eps ? norm.variance : shifted(norm.variance, norm.eps - eps));
}

/** The only convolution of a block is a fused one, even if a batch normalisation follows it. */
function addFused(module: string, convolution: Convolution, add: Add): void {
  const {weight, bias, batchNorm, channels} = convolution;
  if (!batchNorm) {
    add(`${module}.weight`, weight);
    add(`${module}.bias`, bias ?? constant(channels, 0));
    return;
  }
  add(`${module}.weight`, {
    dtype: 'f32',
    shape: weight.shape,
    read: async () => scaleKernels(await weight.read(), scaleOf(await valuesOf(batchNorm))),
  });
  add(`${module}.bias`, {
    dtype: 'f64',
    shape: [channels],
    async read() {
      const norm = await valuesOf(batchNorm);
      return fusedBias(norm, scaleOf(norm), bias && (await bias.read()));
    },
  });
}

async function valuesOf({gamma, beta, mean, variance, eps}: Normalisation): Promise<BatchNorm> {
  return {
    gamma: await gamma.read(),
    beta: await beta.read(),
    mean: await mean.read(),
    variance: await variance.read(),
    eps,
  };
}

/** A batch normalisation that returns its input: in float64, (1 - eps) + eps is 1. */
function neutral(channels: number, eps: number): Normalisation {
  const zeros = constant(channels, 0);
  const variance = constant(channels, 1 - eps);
  return {gamma: constant(channels, 1), beta: zeros, mean: zeros, variance, eps};
}

function constant(length: number, value: number): OnnxWeight {
  return {dtype: 'f64', shape: [length], read: async () => new Float64Array(length).fill(value)};
}

function shifted(tensor: OnnxWeight, difference: number): OnnxWeight {
  const read = async (): Promise<Float64Array> =>
    Float64Array.from(await tensor.read(), value => value + difference);
  return {dtype: 'f64', shape: tensor.shape, read};
}
