import {workAhead} from './ahead.ts';
import type {Architecture} from './architecture.ts';
import {checkOptions, checkSignal, positiveInteger} from './arguments.ts';
import {type ComputedBatch, mostImages, type PreparedBatch, prepareBatches} from './batches.ts';
import {followSignal, raiseOnAbort} from './cancellation.ts';
import {networkFromCheckpoint} from './checkpoint/network.ts';
import {openCheckpoint} from './checkpoint/open.ts';
import {chooseDevice, type Device, type DeviceList, type DeviceName, type Precision} from './device.ts';
import {digits} from './digits.ts';
import {invalidArgument, RepVGGError} from './errors.ts';
import type {RunOptions} from './fetch_image.ts';
import type {ImageInput} from './images.ts';
import {type ClassLabel, resolveLabels} from './labels.ts';
import {locateCheckpoint} from './locate.ts';
import {fromNative, type NativeBatch, type NativeNetwork, type Winograd, winogradClasses} from './native.ts';
import {createNetwork, toNativeBlock, toNativeShape} from './native_network.ts';
import type {Form, NetworkParameters} from './network.ts';
import type {Prediction} from './predictions.ts';
import {
  checkPreprocessing,
  completePreprocessing,
  type Preprocessing,
  type PreprocessingOptions,
  preprocessingOf,
} from './preprocessing.ts';
import {
  checkScore,
  checkScoreOptions,
  type RowResult,
  type ScoreInput,
  type ScoreOptions,
  type Scores,
  scoreRecords,
} from './score.ts';
import {type ScoreDuplex, type ScoreTransformStream, scoreDuplex, scoreTransform} from './score_streams.ts';

/** Of {@link RepVGG.load}: what is loaded, how it computes and on what. */
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
  /**
   * Which of Winograd's algorithms may replace direct convolution where they are faster; docs/kernels.md has their errors.
   * 'f2' is F(2x2) only, 'f4' also F(4x4), 'off' neither. Default 'auto': both in fp32, F(2x2) in fp16 and bf16.
   */
  winograd?: Winograd | undefined;
  /** CPU threads. Default: every core that this process may use. */
  threads?: number | undefined;
  /** Images that run together; more need more memory. Default 32. */
  batchSize?: number | undefined;
  /** Called while a model of the hub is downloaded, with the bytes there are and the bytes there will be. */
  onProgress?: ((received: number, total: number) => void) | undefined;
  /** Ends the call early: it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Of {@link RepVGG.classify}. */
export interface ClassifyOptions extends RunOptions {
  /** How many of the likeliest classes to return. Default 5, or all if there are fewer. */
  topK?: number | undefined;
}

/** Batches of one call that a device has at a time: while one is computed, the next is on its way. */
const batchesInFlight = 2;

/** More CPU threads are a mistake. */
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
    const {winograd = 'auto'} = options;
    if (!winogradClasses.includes(winograd)) {
      throw invalidArgument('winograd', winogradClasses.map(name => `"${name}"`).join(', '), winograd);
    }
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
      embedded?.preprocessing ?? preprocessingOf(file, architecture),
    );
    const shape = toNativeShape(architecture, form, preprocessing);
    try {
      const network = createNetwork(shape, chosen, {batchSize, winograd, ...(threads && {threads})});
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
    checkOptions(options);
    const {topK = 5} = options;
    positiveInteger(topK, 'topK');
    return this.#run(inputs, options, onFailure, this.#topK(topK, 'classify'));
  }

  /** The classifier's output for each image: [numClasses]. Throws as {@link classify} does. */
  async logits(inputs: readonly ImageInput[], options: RunOptions = {}): Promise<Float32Array[]> {
    return this.#run(inputs, options, throwFirst, this.#logits('logits'));
  }

  /** The pooled features of each image, the classifier's input: [widths[4]]. Throws as {@link classify} does. */
  async embed(inputs: readonly ImageInput[], options: RunOptions = {}): Promise<Float32Array[]> {
    return this.#run(inputs, options, throwFirst, this.#embedding());
  }

  /**
   * Scores every image of a source, however many there are, in the order of the source: decoding, computing and whatever the
   * caller does with the rows overlap, and no more than a few batches are in memory at a time. An image that cannot be scored
   * is a row with its error. Leaving the loop early, or a throw in it, ends all that is under way.
   *
   * @param source paths, URLs, encoded images, raw pixels or records; {@link openSource} gives those of folders, tables and tars
   * @throws {RepVGGError} at once ERR_INVALID_ARGUMENT, ERR_NO_CLASSIFIER, ERR_DISPOSED; from the iteration, after the rows
   *   before, what the source throws, ERR_DISPOSED, ERR_DEVICE_LOST, ERR_OUT_OF_MEMORY, or the reason of `signal`
   * @example
   * const rows = model.score(openSource('photos'), {topK: 3});
   * for await (const row of rows) console.log(row.id, 'error' in row ? row.error.message : row);
   * console.log(rows.summary); // {ok: 998, failed: 2, skipped: 0, ...}
   */
  score(source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>, options: ScoreOptions = {}): Scores {
    checkScore(source, options);
    this.#needOpen();
    const compute = this.#computeRows(options);
    return scoreRecords(source, options, (items, imageOf) =>
      this.#runBatches(items, imageOf, options, (batch, cancel) =>
        this.#whileOpen(() => compute(batch, cancel)),
      ),
    );
  }

  /** {@link score} as an object-mode Duplex, for `pipeline()`: what is written are its inputs, what is read its rows. */
  scoreStream(options: ScoreOptions = {}): ScoreDuplex {
    checkScoreOptions(options);
    return scoreDuplex(source => this.score(source, options));
  }

  /** {@link score} as a Web TransformStream, for `pipeThrough()`: what is written are its inputs, what is read its rows. */
  scoreTransformStream(options: ScoreOptions = {}): ScoreTransformStream {
    checkScoreOptions(options);
    return scoreTransform(source => this.score(source, options));
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
      `Cannot ${method}: the checkpoint has no linear layer. Use embed(), or embeddings as the output of score().`,
    );
  }

  #needOpen(): void {
    if (this.#disposal) throw new RepVGGError('ERR_DISPOSED', 'This model is disposed: load it again.');
  }

  /** Lets dispose() wait for `work`. */
  async #whileOpen<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#needOpen();
    const running = work();
    this.#pending.add(running);
    try {
      return await running;
    } finally {
      this.#pending.delete(running);
    }
  }

  #topK(topK: number, method: string): Compute<Prediction[]> {
    this.#needClassifier(method);
    const k = Math.min(topK, this.labels.length);
    return async (batch, cancel) => {
      const {indices, scores} = await this.#network.runTopK(batch, k, cancel);
      return slot =>
        Array.from({length: k}, (_, i) => {
          const index = indices[slot * k + i]!;
          return {index, label: this.labels[index]!.label, score: scores[slot * k + i]!};
        });
    };
  }

  #logits(method: string): Compute<Float32Array> {
    this.#needClassifier(method);
    return this.#vectors('logits', this.architecture.numClasses);
  }

  #embedding(): Compute<Float32Array> {
    return this.#vectors('embedding', this.architecture.widths[4]);
  }

  #vectors(output: 'logits' | 'embedding', length: number): Compute<Float32Array> {
    return async (batch, cancel) => {
      const values = await this.#network.run(batch, output, cancel);
      return slot => values.slice(slot * length, (slot + 1) * length);
    };
  }

  #computeRows({output = 'labels', topK = 5}: ScoreOptions): Compute<RowResult> {
    if (output === 'embeddings') return mapResults(this.#embedding(), embedding => ({embedding}));
    if (output === 'logits') return mapResults(this.#logits('score'), logits => ({logits}));
    return mapResults(this.#topK(topK, 'score'), predictions => {
      const {label, score} = predictions[0]!;
      return {label, score, topK: predictions};
    });
  }

  /** Runs every input through `compute`. */
  async #run<Result, Failure>(
    inputs: readonly ImageInput[],
    options: RunOptions,
    onFailure: OnFailure<Failure>,
    compute: Compute<Result>,
  ): Promise<(Result | Failure)[]> {
    this.#needOpen();
    if (!Array.isArray(inputs)) throw invalidArgument('inputs', 'an array of images', inputs);
    checkOptions(options);
    checkSignal(options.signal);
    // A copy, since the caller may change the array while the call goes on.
    const batches = this.#runBatches([...inputs], input => input, options, compute, onFailure);
    return this.#whileOpen(async () => {
      const results: (Result | Failure)[] = [];
      for await (const {slots, resultOf} of batches) {
        for (const slot of slots) results.push(typeof slot === 'number' ? resultOf!(slot) : onFailure(slot));
      }
      return results;
    });
  }

  /** Prepares and computes batches, several at a time, and gives them in order. */
  async *#runBatches<Item, Result>(
    items: Iterable<Item> | AsyncIterable<Item>,
    imageOf: (item: Item) => ImageInput | RepVGGError,
    options: Pick<ScoreOptions, 'batchSize' | 'concurrency' | 'maxWait' | keyof RunOptions>,
    compute: Compute<Result>,
    onFailure: OnFailure<unknown> = keep,
  ): AsyncGenerator<ComputedBatch<Item, Result>> {
    const {signal} = options;
    signal?.throwIfAborted();
    const cancel = new Uint8Array(1);
    const {controller, forget} = followSignal(signal);
    raiseOnAbort(controller.signal, cancel);
    const {preprocessing, batchSize} = this;
    const prepared = prepareBatches(items, imageOf, {
      ...options,
      signal: controller.signal,
      preprocessing,
      batchSize: options.batchSize ?? batchSize,
    });
    const most = batchesInFlight * this.device.members.length;
    let idleSince = 0;
    const run = async (ready: PreparedBatch<Item>): Promise<ComputedBatch<Item, Result>> => {
      for (const slot of ready.slots) if (typeof slot !== 'number') onFailure(slot);
      const begin = performance.now();
      const resultOf = ready.batch.count > 0 ? await compute(ready.batch, cancel) : undefined;
      const end = performance.now();
      const busyMilliseconds = Math.max(0, end - Math.max(begin, idleSince));
      idleSince = Math.max(idleSince, end);
      return {...ready, resultOf, computeMilliseconds: end - begin, busyMilliseconds};
    };
    try {
      yield* workAhead(prepared, most, run, () => controller.abort());
    } catch (error) {
      signal?.throwIfAborted();
      throw fromNative(error);
    } finally {
      forget();
    }
  }
}

/** Runs the network on a batch, and says how to get the result of one of its images. `cancel[0] = 1` ends it early. */
type Compute<Result> = (batch: NativeBatch, cancel: Uint8Array) => Promise<(slot: number) => Result>;

function mapResults<From, To>(compute: Compute<From>, map: (result: From) => To): Compute<To> {
  return async (batch, cancel) => {
    const resultOf = await compute(batch, cancel);
    return slot => map(resultOf(slot));
  };
}

/** What becomes of an input that cannot be read. It is asked before the input's batch is computed, too, so that it can throw. */
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
