/** The structure of a checkpoint: inferred and checked by names and shapes alone, before any tensor is read. */
import {type Architecture, type BlockShape, blockShapes} from '../architecture.ts';
import {invalidArgument, RepVGGError} from '../errors.ts';
import type {Form} from '../network.ts';
import {
  type BatchNormNames,
  type BlockNames,
  type LayerNames,
  layerNames,
  recogniseBlocks,
} from './block_names.ts';
import type {Checkpoint, TensorInfo} from './checkpoint.ts';
import type {Dialect} from './dialects.ts';
import type {DType} from './element_types.ts';
import {printable} from './file.ts';
import {inferArchitecture, settleArchitecture} from './infer_architecture.ts';
import {type NamedTensors, tensorOf, wrongShape} from './named_tensors.ts';
import {plainTensors} from './plain_tensors.ts';

/** A block of a checkpoint. */
export interface StoredBlock {
  shape: BlockShape;
  names: BlockNames;
  form: Form;
  /** The batch normalisation after the sum of the branches, or after the fused convolution. */
  sum: BatchNormNames | null;
}

export interface Structure {
  architecture: Architecture;
  /** 'deploy' if any block is fused, since fusion cannot be undone. */
  form: Form;
  dialect: Dialect;
  /** The tensors under the checkpoint's names, in the layouts of the official network. */
  tensors: ReadonlyMap<string, TensorInfo>;
  blocks: readonly StoredBlock[];
  /** Epsilon of the batch normalisations; null if there are none. */
  eps: number | null;
  linear: LayerNames | null;
}

/** What is known of a checkpoint beforehand. */
export interface StructureOptions {
  /** A name such as "RepVGG-A0", which allows any number of classes, or an exact architecture. */
  architecture?: string | Architecture | undefined;
  /** Epsilon of the batch normalisations. Default: that of the dialect, 1e-5. */
  eps?: number | undefined;
}

/**
 * Infers the RepVGG network of a checkpoint of any known project, in train or deploy form, from the names and shapes of its tensors, and
 * checks that they are exactly those of the network.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED if it is not a RepVGG network or is quantised, ERR_CHECKPOINT_MISSING_TENSOR,
 *   ERR_CHECKPOINT_EXTRA_TENSOR or ERR_CHECKPOINT_SHAPE if its tensors are not those of the network, ERR_ARCHITECTURE_UNKNOWN or
 *   ERR_ARCHITECTURE_MISMATCH if it is not the expected architecture
 */
export function checkpointStructure(file: Checkpoint, options: StructureOptions = {}): Structure {
  const {architecture: expected, eps} = options;
  if (eps !== undefined && !(typeof eps === 'number' && eps > 0 && eps < 1))
    throw invalidArgument('eps', 'a number between 0 and 1', eps);
  if (eps !== undefined && eps !== (file.eps ?? eps))
    throw invalidArgument('eps', `${file.eps} (as ${file.path} itself says)`, eps);
  const {dialect, stages, tensors: unwrapped} = recogniseBlocks(file);
  const tensors = plainTensors(unwrapped, dialect);
  const checkpoint: NamedTensors = {path: file.path, key: file.key, tensors};
  const named = stages.flat();
  const forms = storedForms(checkpoint, named);
  const form: Form = forms.includes('deploy') ? 'deploy' : 'train';
  const linearNames = layerNames(dialect.linear);
  const linear = Object.values(linearNames).some(name => tensors.has(name)) ? linearNames : null;
  const inferred = inferArchitecture(checkpoint, {dialect, stages}, forms, linear);
  const architecture = settleArchitecture(checkpoint, inferred, expected);
  const shapes = blockShapes(architecture);
  // After a fused convolution this batch normalisation is optional: either all fused blocks have it, or it was fused too.
  const fusedKeepSum = named.some(({sum}, i) => sum && forms[i] === 'deploy' && tensors.has(sum.gamma));
  const blocks = named.map((names, index): StoredBlock => {
    const ownForm = forms[index]!;
    const sum = ownForm === 'train' || fusedKeepSum ? names.sum : null;
    if (ownForm === 'train' && sum && inferred.squeezeExcite) throw gatedSum(checkpoint, dialect, named);
    return {shape: shapes[index]!, names, form: ownForm, sum};
  });
  const hasNorms = blocks.some(({form, sum}) => form === 'train' || sum);
  const structure = {
    architecture,
    form,
    dialect,
    tensors,
    blocks,
    eps: hasNorms ? (file.eps ?? eps ?? dialect.batchNorm.eps) : null,
    linear,
  };
  checkTensors(checkpoint, structure);
  return structure;
}

/**
 * The form of each block, since a network may be partly fused. If all blocks have branches, these are the trained weights,
 * and fused kernels beside them may be out of date.
 */
function storedForms({tensors}: NamedTensors, blocks: readonly BlockNames[]): Form[] {
  const hasBranches = blocks.every(({dense}) => tensors.has(dense.weight));
  const isFused = blocks.some(({fused}) => tensors.has(fused.weight));
  if (!isFused || hasBranches) return blocks.map(() => 'train');
  return blocks.map(({dense, fused}) =>
    tensors.has(dense.weight) && !tensors.has(fused.weight) ? 'train' : 'deploy',
  );
}

/** Modules that PyTorch inserts for quantisation-aware training and calibration. */
const observed = /fake_quant|activation_post_process/;

const floatingPoint: readonly DType[] = ['f64', 'f32', 'f16', 'bf16'];

function checkTensors(checkpoint: NamedTensors, structure: Structure): void {
  const {path, tensors} = checkpoint;
  const {architecture, form, dialect} = structure;
  const shapes = new Map(tensorShapes(structure));
  for (const [name, shape] of shapes) {
    const tensor = tensorOf(checkpoint, name);
    if (!sameShape(tensor.shape, shape)) throw wrongShape(checkpoint, tensor, `[${shape.join(', ')}]`);
    if (!floatingPoint.includes(tensor.dtype)) {
      throw new RepVGGError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `Expected floating-point numbers for tensor "${printable(name)}" of ${path} but received ${tensor.dtype}; quantised networks cannot be loaded.`,
      );
    }
  }
  for (const name of tensors.keys()) {
    if (shapes.has(name) || dialect.ignored.test(name)) continue;
    const advice = observed.test(name)
      ? ', which quantisation-aware training adds: save the network before it is prepared for that'
      : '';
    throw new RepVGGError(
      'ERR_CHECKPOINT_EXTRA_TENSOR',
      `Expected only the tensors of a ${architecture.name} network (${dialect.name} names, ${form} form) in ${path} but received also "${printable(name)}"${advice}.`,
    );
  }
}

/** Lists the names and shapes of a network's tensors. */
function* tensorShapes({
  tensors,
  architecture,
  blocks,
  linear,
}: Structure): Generator<[name: string, shape: number[]]> {
  function* convolution(names: LayerNames, shape: number[]): Generator<[string, number[]]> {
    yield [names.weight, shape];
    if (tensors.has(names.bias)) yield [names.bias, shape.slice(0, 1)];
  }
  function* batchNorm(names: BatchNormNames | null, channels: number): Generator<[string, number[]]> {
    if (!names) return;
    for (const name of [names.gamma, names.beta, names.mean, names.variance]) yield [name, [channels]];
  }
  for (const {names, shape, form, sum} of blocks) {
    const {inChannels, outChannels, groups, identity, squeezeChannels} = shape;
    const kernel = [outChannels, inChannels / groups, 3, 3];
    if (form === 'deploy' && !sum) {
      yield [names.fused.weight, kernel];
      yield [names.fused.bias, [outChannels]];
    } else if (form === 'deploy') {
      yield* convolution(names.fused, kernel);
    } else {
      yield* convolution(names.dense, kernel);
      yield* batchNorm(names.dense.batchNorm, outChannels);
      yield* convolution(names.pointwise, [outChannels, inChannels / groups, 1, 1]);
      yield* batchNorm(names.pointwise.batchNorm, outChannels);
      if (identity) yield* batchNorm(names.identity, outChannels);
    }
    yield* batchNorm(sum, outChannels);
    if (squeezeChannels > 0) {
      const {down, up} = names.squeezeExcite;
      yield [down.weight, [squeezeChannels, outChannels, 1, 1]];
      yield [down.bias, [squeezeChannels]];
      yield [up.weight, [outChannels, squeezeChannels, 1, 1]];
      yield [up.bias, [outChannels]];
    }
  }
  if (linear) {
    yield [linear.weight, [architecture.numClasses, architecture.widths[4]]];
    yield [linear.bias, [architecture.numClasses]];
  }
}

/** Dimensions of 1 are ignored: some projects store squeeze-and-excite as linear layers, or statistics as (1, C, 1, 1). */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const signature = (shape: readonly number[]): string => shape.filter(size => size !== 1).join();
  return signature(a) === signature(b) && !a.includes(0);
}

/** A gate before the batch normalisation depends on the input, so the branches cannot be fused into one convolution. */
function gatedSum(
  {path, tensors}: NamedTensors,
  {name}: Dialect,
  blocks: readonly BlockNames[],
): RepVGGError {
  const gate = blocks.map(({squeezeExcite}) => squeezeExcite.down.weight).find(name => tensors.has(name));
  return new RepVGGError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `Expected a ${name} network without squeeze-and-excite in ${path} but received also "${gate}": ` +
      'its gates precede the batch normalisation of the sum, so its branches cannot be fused; ' +
      'train it without them, or run it in PyTorch.',
  );
}
