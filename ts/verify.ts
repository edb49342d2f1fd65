import type {Architecture} from './architecture.ts';
import {invalidArgument, RepVGGError} from './errors.ts';
import type {ImageInput, RawImage} from './images/images.ts';
import {checkCalibration} from './loading/calibration.ts';
import type {LoadOptions} from './loading/load_network.ts';
import {type OpenOptions, openNetwork} from './loading/open_network.ts';
import {RepVGG} from './model.ts';
import {isFp8, type Precision} from './native/device.ts';
import type {Form} from './network.ts';
import type {Preprocessing} from './preprocessing.ts';
import {checkOptions, checkSignal, type FieldNames} from './support/arguments.ts';
import {argmax, differenceOf} from './support/difference.ts';

/** Options of {@link verifyCheckpoint}. */
export interface VerifyOptions
  extends Pick<
    LoadOptions,
    | 'architecture'
    | 'eps'
    | 'device'
    | 'calibration'
    | 'preprocessing'
    | 'threads'
    | 'batchSize'
    | 'onProgress'
    | 'signal'
  > {
  /** The fused checkpoint to verify. Default: `train`, fused in memory. */
  deploy?: string | undefined;
  /** The images to run. Default: `random` images of noise of the network's input size. */
  inputs?: readonly ImageInput[] | undefined;
  /** The number of noise images, which are always the same, if there are no `inputs`. Default 8. */
  random?: number | undefined;
  /** Precision of the deploy form; the train form always runs in fp32. Default 'fp32'. */
  precision?: Precision | undefined;
  /** The largest relative difference that passes. Default 1e-4; 5e-3 for tf32 and fp16, 2e-2 for bf16, 0.2 for fp8. */
  tolerance?: number | undefined;
}

const optionNames: FieldNames<VerifyOptions> = {
  architecture: true,
  eps: true,
  device: true,
  calibration: true,
  preprocessing: true,
  threads: true,
  batchSize: true,
  onProgress: true,
  signal: true,
  deploy: true,
  inputs: true,
  random: true,
  precision: true,
  tolerance: true,
};

/** How much the outputs of the two forms differ: logits, or embeddings if there is no classifier. */
export interface Verification {
  architecture: Architecture;
  /** Precision of the deploy form. */
  precision: Exclude<Precision, 'auto'>;
  output: 'logits' | 'embedding';
  /** Per image, what the official `tools/verify.py` prints: the sum of (train - deploy)^2. */
  sumSquaredDifferences: number[];
  /** Per image, the Euclidean norm of train - deploy over that of train. */
  relativeDifferences: number[];
  /** The largest |train - deploy| over all images, and the largest |train|. */
  largestDifference: number;
  largestOutput: number;
  /** The number of images with the same top-1 class in both; null without a classifier. */
  sameTop1: number | null;
  tolerance: number;
  /** Whether no relative difference exceeds the tolerance. */
  passed: boolean;
}

/**
 * Runs a network in train and in deploy form and compares the outputs. Fusion is exact, so only rounding remains: in fp32
 * 1e-7 to 1e-5 relative to the logits. A wrong epsilon results in about 1e-2, a missing branch in 0.4 and more, and a file
 * in half precision in about 1e-3.
 *
 * @param train a checkpoint in train form, or "digits"
 * @throws {RepVGGError} the codes of `RepVGG.load` and of images; ERR_INVALID_ARGUMENT if `train` is fused already
 */
export async function verifyCheckpoint(train: string, options: VerifyOptions = {}): Promise<Verification> {
  checkOptions(options, optionNames);
  const {deploy = train, inputs, random = 8, tolerance, precision = 'fp32', ...rest} = options;
  const {preprocessing, calibration, ...load} = rest;
  const {onProgress, signal} = load;
  checkSignal(signal);
  signal?.throwIfAborted();
  if (tolerance !== undefined && !(tolerance > 0))
    throw invalidArgument('tolerance', 'a positive number', tolerance);
  if (!Number.isInteger(random) || random < 1) throw invalidArgument('random', 'a positive integer', random);
  if (inputs !== undefined && !(Array.isArray(inputs) && inputs.length > 0))
    throw invalidArgument('inputs', 'at least one image', inputs);
  if (inputs !== undefined && options.random !== undefined)
    throw invalidArgument('random', 'no value beside inputs', random);
  if (!isFp8(precision)) checkCalibration(calibration, precision); // fp8 has the images to verify.
  if ((await storedForm(train, {onProgress, signal})) === 'deploy') {
    const message = `Expected a checkpoint as it was trained for train but ${train} is fused already, at least in part.`;
    throw new RepVGGError('ERR_INVALID_ARGUMENT', message);
  }
  // Noise is generated at the crop size, so it is not resized.
  const geometry = inputs ? preprocessing : {...preprocessing, resize: 0};
  const imagesFor = ({crop}: Preprocessing): readonly ImageInput[] => inputs ?? noise(random, crop);
  const run = async (path: string, form: Form, own: Partial<LoadOptions>): Promise<Run> => {
    await using model = await RepVGG.load(path, {...load, precision: 'fp32', form, ...own});
    const images = imagesFor(model.preprocessing);
    const hasClassifier = model.architecture.numClasses > 0;
    const outputs = hasClassifier
      ? await model.logits(images, {signal})
      : await model.embed(images, {signal});
    return {
      architecture: model.architecture,
      preprocessing: model.preprocessing,
      precision: model.precision,
      outputs,
    };
  };
  const before = await run(train, 'train', {preprocessing: geometry});
  const {architecture} = before;
  const own = {
    architecture,
    preprocessing: before.preprocessing,
    precision,
    ...(isFp8(precision) && {calibration: calibration ?? imagesFor(before.preprocessing)}),
  };
  const after = await run(deploy, 'deploy', own);
  const verification = compare(
    architecture,
    before.outputs,
    after.outputs,
    tolerance ?? tolerances[after.precision],
  );
  return {...verification, precision: after.precision};
}

interface Run extends Pick<RepVGG, 'architecture' | 'preprocessing' | 'precision'> {
  outputs: Float32Array[];
}

async function storedForm(path: string, options: OpenOptions): Promise<Form> {
  await using opened = await openNetwork(path, options);
  return opened.structure.form;
}

/** Bytes of a linear congruential generator (Numerical Recipes), so that every run uses the same noise. */
function noise(count: number, size: number): RawImage[] {
  let state = 1;
  return Array.from({length: count}, () => {
    const data = new Uint8Array(size * size * 3);
    for (let i = 0; i < data.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      data[i] = state >>> 24;
    }
    return {data, width: size, height: size, channels: 3};
  });
}

/** Bounds on the rounding error of each precision. */
const tolerances: Record<Exclude<Precision, 'auto'>, number> = {
  fp32: 1e-4,
  tf32: 5e-3,
  fp16: 5e-3,
  bf16: 2e-2,
  fp8: 0.2,
  'fp8-simulated': 0.2,
};

function compare(
  architecture: Architecture,
  train: readonly Float32Array[],
  deploy: readonly Float32Array[],
  tolerance: number,
): Omit<Verification, 'precision'> {
  const differences = train.map((outputs, image) => differenceOf(deploy[image]!, outputs));
  const relativeDifferences = differences.map(({relative}) => relative);
  const same = train.filter((outputs, image) => argmax(outputs) === argmax(deploy[image]!));
  const hasClassifier = architecture.numClasses > 0;
  return {
    architecture,
    output: hasClassifier ? 'logits' : 'embedding',
    sumSquaredDifferences: differences.map(({squared}) => squared),
    relativeDifferences,
    largestDifference: Math.max(...differences.map(({largest}) => largest)),
    largestOutput: Math.max(...train.map(largestOf)),
    sameTop1: hasClassifier ? same.length : null,
    tolerance,
    passed: relativeDifferences.every(difference => difference <= tolerance),
  };
}

function largestOf(outputs: Float32Array): number {
  return outputs.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}
