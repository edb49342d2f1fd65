import type {Architecture} from './architecture.ts';
import {checkOptions, checkSignal} from './arguments.ts';
import {prepareBatches} from './batches.ts';
import {raiseOnAbort} from './cancellation.ts';
import {networkFromCheckpoint} from './checkpoint/network.ts';
import {openCheckpoint} from './checkpoint/open.ts';
import {chooseDevice, type Device, type DeviceList, type DeviceName, type Precision} from './device.ts';
import {digits} from './digits.ts';
import {invalidArgument, RepVGGError} from './errors.ts';
import type {ImageInput} from './images.ts';
import {type ClassLabel, resolveLabels} from './labels.ts';
import {locateCheckpoint} from './locate.ts';
import {fromNative, type NativeBatch, type NativeNetwork} from './native.ts';
import {createNetwork, toNativeBlock, toNativeShape} from './native_network.ts';
import type {Form, NetworkParameters} from './network.ts';
import {
  checkPreprocessing,
  completePreprocessing,
  defaultPreprocessing,
  type Preprocessing,
  type PreprocessingOptions,
} from './preprocessing.ts';

export interface LoadOptions {
  /** Default 'auto': a GPU if one can be used, else the CPU. A list shares batches out. */
  device?: DeviceName | DeviceList | undefined;
  /** Default 'auto': fp32 on the CPU. */
  precision?: Precision | undefined;
  /** What the checkpoint must hold: an official name, or an architecture. Default: inferred from its shapes. */
  architecture?: string | Architecture | undefined;
  /**
   * What the checkpoint's batch normalisations add to the variance, which no checkpoint tells. Default: 1e-5, as in all
   * classifiers; the RepVGG blocks of YOLOv6 and YOLOv7 were trained with 1e-3. It does not matter once fused.
   */
  eps?: number | undefined;
  /** 'deploy' (default) fuses the branches of a training checkpoint; 'train' runs them as they were trained. */
  form?: Form | undefined;
  /** One label for each class, or a file with one a line. Default: ImageNet's for 1000 classes, else the class numbers. */
  labels?: string | readonly string[] | undefined;
  /** Fields that differ from the variant's published preprocessing. */
  preprocessing?: PreprocessingOptions | undefined;
  /** CPU threads. Default: every core that this process may use. */
  threads?: number | undefined;
  /** Images that run together; more need more memory. Default 32. */
  batchSize?: number | undefined;
  /** Called while a model of the hub is downloaded, with the bytes there are and the bytes there will be. */
  onProgress?: ((received: number, total: number) => void) | undefined;
  /** Ends the call early: it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface RunOptions {
  /** Ends the call early: it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface ClassifyOptions extends RunOptions {
  /** How many of the likeliest classes to return. Default 5, or all if there are fewer. */
  topK?: number | undefined;
}

/** One of the likeliest classes of an image. */
export interface Prediction {
  index: number;
  label: string;
  /** Softmax probability; NaN where the logits are not finite, as when activations exceed what the precision can hold. */
  score: number;
}

/** Batches of one call that a device has at a time: while one is computed, the next is on its way. */
const batchesInFlight = 2;

/** Bounds that only a mistake exceeds. */
const mostImages = 4096;
const mostThreads = 1024;

/**
 * A RepVGG network, ready to run. Inference happens on a thread of its own: no call blocks the event loop.
 *
 * @example
 * await using model = await RepVGG.load('RepVGG-A0-train.pth');
 * const [top] = await model.classify(['cat.jpg'], {topK: 3});
 */
export class RepVGG implements AsyncDisposable {
  readonly architecture: Architecture;
  readonly form: Form;
  readonly device: Device;
  /** The arithmetic of the convolutions. */
  readonly precision: Exclude<Precision, 'auto'>;
  readonly preprocessing: Preprocessing;
  /** The classes in output order; empty for a backbone without a classifier. */
  readonly labels: readonly ClassLabel[];
  readonly batchSize: number;

  readonly #network: NativeNetwork;
  readonly #pending = new Set<Promise<unknown>>();
  #disposal: Promise<void> | undefined;

  private constructor(
    network: NativeNetwork,
    fields: Pick<
      RepVGG,
      'architecture' | 'form' | 'device' | 'precision' | 'preprocessing' | 'labels' | 'batchSize'
    >,
  ) {
    this.#network = network;
    this.architecture = fields.architecture;
    this.form = fields.form;
    this.device = fields.device;
    this.precision = fields.precision;
    this.preprocessing = fields.preprocessing;
    this.labels = fields.labels;
    this.batchSize = fields.batchSize;
  }

  /**
   * Loads a network from a checkpoint file, in train or deploy form, from the Hugging Face hub by its id, such as
   * "timm/repvgg_a0.rvgg_in1k" (fetched into the hub's cache once), or the embedded one by its name, "digits".
   *
   * @throws {RepVGGError} docs/errors.md lists the codes of unreadable, contradictory and hostile checkpoints
   */
  static async load(checkpoint: string, options: LoadOptions = {}): Promise<RepVGG> {
    if (typeof checkpoint !== 'string')
      throw invalidArgument('checkpoint', 'a path, "owner/name" of the hub or "digits"', checkpoint);
    checkOptions(options);
    const embedded = checkpoint === 'digits' ? digits : undefined;
    const {device = 'auto', precision = 'auto', form = 'deploy', batchSize = 32, threads} = options;
    const {onProgress, signal} = options;
    const {labels: given = embedded?.labels} = options;
    if (form !== 'deploy' && form !== 'train') throw invalidArgument('form', '"deploy" or "train"', form);
    positiveInteger(batchSize, 'batchSize', mostImages);
    if (threads !== undefined) positiveInteger(threads, 'threads', mostThreads);
    checkPreprocessing(options.preprocessing);
    checkSignal(signal);
    signal?.throwIfAborted();
    const chosen = chooseDevice(device, precision);

    await using file = await openCheckpoint(await locateCheckpoint(checkpoint, {signal, onProgress}));
    const parameters = networkFromCheckpoint(file, {architecture: options.architecture, eps: options.eps});
    const {architecture} = parameters;
    const labels = await resolveLabels(given, architecture.numClasses);
    const preprocessing = completePreprocessing(
      options.preprocessing,
      embedded?.preprocessing ?? defaultPreprocessing(architecture),
    );
    const shape = toNativeShape(architecture, form, preprocessing);
    try {
      const network = createNetwork(shape, chosen, {batchSize, ...(threads && {threads})});
      await setParameters(network, parameters, form, signal);
      return new RepVGG(network, {
        architecture,
        form,
        device: chosen.device,
        precision: chosen.precision,
        preprocessing,
        labels,
        batchSize,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw fromNative(error);
    }
  }

  /**
   * The likeliest classes of each image, best first.
   *
   * @throws {RepVGGError} the error of the first input that cannot be read; ERR_NO_CLASSIFIER, ERR_DISPOSED, ERR_INVALID_ARGUMENT
   */
  async classify(inputs: readonly ImageInput[], options: ClassifyOptions = {}): Promise<Prediction[][]> {
    return this.#classify(inputs, options, throwFirst);
  }

  /** Like {@link classify}, but an input that cannot be read has its error in its place and the others their predictions. */
  async classifySettled(
    inputs: readonly ImageInput[],
    options: ClassifyOptions = {},
  ): Promise<(Prediction[] | RepVGGError)[]> {
    return this.#classify(inputs, options, keep);
  }

  async #classify<Failure>(
    inputs: readonly ImageInput[],
    options: ClassifyOptions,
    onFailure: OnFailure<Failure>,
  ): Promise<(Prediction[] | Failure)[]> {
    this.#needClassifier('classify');
    checkOptions(options);
    const {topK = 5} = options;
    positiveInteger(topK, 'topK');
    const k = Math.min(topK, this.labels.length);
    return this.#run(inputs, options, onFailure, async (batch, cancel) => {
      const {indices, scores} = await this.#network.runTopK(batch, k, cancel);
      return slot =>
        Array.from({length: k}, (_, i) => {
          const index = indices[slot * k + i]!;
          return {index, label: this.labels[index]!.label, score: scores[slot * k + i]!};
        });
    });
  }

  /** The classifier's output for each image: [numClasses]. Throws as {@link classify} does. */
  async logits(inputs: readonly ImageInput[], options: RunOptions = {}): Promise<Float32Array[]> {
    this.#needClassifier('logits');
    return this.#runVectors(inputs, options, 'logits', this.architecture.numClasses);
  }

  /** The pooled features of each image, the classifier's input: [widths[4]]. Throws as {@link classify} does. */
  async embed(inputs: readonly ImageInput[], options: RunOptions = {}): Promise<Float32Array[]> {
    return this.#runVectors(inputs, options, 'embedding', this.architecture.widths[4]);
  }

  /** Frees the network's memory once the calls in flight are done. Later calls reject with ERR_DISPOSED. */
  dispose(): Promise<void> {
    this.#disposal ??= Promise.allSettled(this.#pending).then(() => this.#network.dispose());
    return this.#disposal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #needClassifier(method: string): void {
    if (this.architecture.numClasses > 0) return;
    throw new RepVGGError(
      'ERR_NO_CLASSIFIER',
      `Cannot ${method}: the checkpoint has no linear layer. Use embed().`,
    );
  }

  #runVectors(
    inputs: readonly ImageInput[],
    options: RunOptions,
    output: 'logits' | 'embedding',
    length: number,
  ): Promise<Float32Array[]> {
    return this.#run(inputs, options, throwFirst, async (batch, cancel) => {
      const values = await this.#network.run(batch, output, cancel);
      return slot => values.slice(slot * length, (slot + 1) * length);
    });
  }

  /** Runs every input through `compute`, which takes a batch and returns how to get the result of one of its images. */
  async #run<Result, Failure>(
    inputs: readonly ImageInput[],
    options: RunOptions,
    onFailure: OnFailure<Failure>,
    compute: (batch: NativeBatch, cancel: Uint8Array) => Promise<(slot: number) => Result>,
  ): Promise<(Result | Failure)[]> {
    if (this.#disposal) throw new RepVGGError('ERR_DISPOSED', 'This model is disposed: load it again.');
    if (!Array.isArray(inputs)) throw invalidArgument('inputs', 'an array of images', inputs);
    checkOptions(options);
    const {signal} = options;
    checkSignal(signal);
    signal?.throwIfAborted();
    const cancel = new Uint8Array(1);
    const forget = signal && raiseOnAbort(signal, cancel);
    // A copy, since the caller may change the array while the call goes on.
    const running = this.#runBatches([...inputs], signal, cancel, onFailure, compute);
    this.#pending.add(running);
    try {
      return await running;
    } catch (error) {
      signal?.throwIfAborted();
      throw fromNative(error);
    } finally {
      this.#pending.delete(running);
      forget?.();
    }
  }

  async #runBatches<Result, Failure>(
    inputs: readonly ImageInput[],
    signal: AbortSignal | undefined,
    cancel: Uint8Array,
    onFailure: OnFailure<Failure>,
    compute: (batch: NativeBatch, cancel: Uint8Array) => Promise<(slot: number) => Result>,
  ): Promise<(Result | Failure)[]> {
    const results: (Result | Failure)[] = [];
    const inFlight: Promise<(Result | Failure)[]>[] = [];
    const most = batchesInFlight * this.device.members.length;
    try {
      for await (const {batch, slots} of prepareBatches(inputs, this.preprocessing, this.batchSize, signal)) {
        const failures = slots.map(slot => (typeof slot === 'number' ? undefined : onFailure(slot)));
        const run = async (): Promise<(Result | Failure)[]> => {
          const resultOf = batch.count > 0 ? await compute(batch, cancel) : undefined;
          return slots.map((slot, i) => (typeof slot === 'number' ? resultOf!(slot) : failures[i]!));
        };
        const running = run();
        running.catch(() => {}); // Seen when it is awaited, unless an earlier one fails.
        inFlight.push(running);
        if (inFlight.length >= most) results.push(...(await inFlight.shift()!));
      }
      while (inFlight.length > 0) results.push(...(await inFlight.shift()!));
      return results;
    } finally {
      cancel.fill(1);
      await Promise.allSettled(inFlight); // A call that fails leaves nothing behind.
    }
  }
}

/** What becomes of an input that cannot be read. It is asked before the rest of the input's batch is computed. */
type OnFailure<Failure> = (error: RepVGGError) => Failure;

const keep = (error: RepVGGError): RepVGGError => error;
const throwFirst = (error: RepVGGError): never => {
  throw error;
};

/** Hands the parameters over block by block: one is read and fused while the last is being packed. Disposes of the network when it fails. */
export async function setParameters(
  network: NativeNetwork,
  parameters: NetworkParameters,
  form: Form,
  signal?: AbortSignal,
): Promise<void> {
  try {
    let packed: Promise<void> = Promise.resolve();
    for await (const block of parameters.blocks(form, signal)) {
      await packed;
      packed = network.setBlock(block.shape.index, toNativeBlock(block));
      packed.catch(() => {}); // Seen when it is awaited, unless reading fails first.
    }
    await packed;
    const linear = await parameters.linear();
    if (linear) await network.setLinear(linear);
    signal?.throwIfAborted();
  } catch (error) {
    await network.dispose();
    throw error;
  }
}

function positiveInteger(value: number, name: string, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  const limit = most === Number.MAX_SAFE_INTEGER ? '' : ` up to ${most}`;
  throw invalidArgument(name, `a positive integer${limit}`, value);
}
