import type {Architecture} from './architecture.ts';
import {invalidArgument, RepVGGError} from './errors.ts';
import {checkRunOptions, type RunOptions, runOptionNames} from './images/fetch_image.ts';
import type {ImageInput} from './images/images.ts';
import type {ClassLabel} from './labels.ts';
import {type LoadedNetwork, type LoadOptions, loadNetwork} from './loading/load_network.ts';
import type {NativeNetwork, Winograd} from './native/addon.ts';
import type {Device, Precision} from './native/device.ts';
import {describeNetwork} from './native/native_network.ts';
import type {Form} from './network.ts';
import type {Preprocessing} from './preprocessing.ts';
import type {Prediction} from './scoring/predictions.ts';
import {
  type Compute,
  keep,
  type OnFailure,
  type RunBatchesOptions,
  runBatches,
} from './scoring/run_batches.ts';
import {
  checkScore,
  checkScoreOptions,
  type ScoreInput,
  type ScoreOptions,
  type Scores,
  scoreRecords,
} from './scoring/score.ts';
import type {RowResult, ScoreOutput} from './scoring/score_row.ts';
import {
  type ScoreDuplex,
  type ScoreTransformStream,
  scoreDuplex,
  scoreTransform,
} from './scoring/score_streams.ts';
import {checkOptions, positiveInteger} from './support/arguments.ts';

/** Options of {@link RepVGG.classify}. */
export interface ClassifyOptions extends RunOptions {
  /** The number of classes to return. Default 5, or all if there are fewer. */
  topK?: number | undefined;
}

/**
 * A loaded RepVGG network. Inference runs on threads of its own, so no call blocks the event loop.
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
  /** Which of Winograd's algorithms were allowed: `LoadOptions.winograd`. */
  readonly winograd: Winograd;
  readonly preprocessing: Preprocessing;
  /** The classes in output order; empty for a backbone without a classifier. */
  readonly labels: readonly ClassLabel[];
  /** Images per batch, unless a call specifies it. */
  readonly batchSize: number;
  /**
   * Identifies the network's parameters, and for fp8 its calibration: 16 hexadecimal digits, the same for the same tensors in
   * whatever file. For comparing runs, not for security.
   */
  readonly digest: string;

  readonly #network: NativeNetwork;
  #hasRun = false;
  readonly #pending = new Set<Promise<unknown>>();
  #disposal: Promise<void> | undefined;

  private constructor({network, ...fields}: LoadedNetwork) {
    this.#network = network;
    this.architecture = fields.architecture;
    this.form = fields.form;
    this.device = fields.device;
    this.precision = fields.precision;
    this.winograd = fields.winograd;
    this.preprocessing = fields.preprocessing;
    this.labels = fields.labels;
    this.batchSize = fields.batchSize;
    this.digest = fields.digest;
  }

  /**
   * Loads a network from a checkpoint file in train or deploy form, from the Hugging Face hub by its id, such as
   * "timm/repvgg_a0.rvgg_in1k" (downloaded once into the hub's cache), or the embedded one by its name, "digits".
   *
   * @throws {RepVGGError} docs/errors.md lists the codes of unreadable, inconsistent and hostile checkpoints
   */
  static async load(checkpoint: string, options: LoadOptions = {}): Promise<RepVGG> {
    return new RepVGG(await loadNetwork(checkpoint, options));
  }

  /**
   * The most probable classes of each image, best first.
   *
   * @throws {RepVGGError} the error of the first input that cannot be read; ERR_NO_CLASSIFIER, ERR_DISPOSED, ERR_INVALID_ARGUMENT
   */
  async classify(inputs: readonly ImageInput[], options: ClassifyOptions = {}): Promise<Prediction[][]> {
    return this.#classify(inputs, options, throwFirst);
  }

  /** Like {@link classify}, but an input that cannot be read yields its error in place of predictions. */
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
    checkOptions(options, {...runOptionNames, topK: true});
    const {topK = 5, ...run} = options;
    positiveInteger(topK, 'topK');
    return this.#run(inputs, run, onFailure, this.#topK(topK, 'classify'));
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
   * Scores every image of a source of any length, in order. Decoding, inference and the caller's work on the rows overlap, and
   * only a few batches are in memory at a time. An image that cannot be scored yields a row with its error. Leaving the loop
   * early, or throwing in it, stops all work in progress.
   *
   * @param source paths, URLs, encoded images, raw pixels or records; {@link openSource} reads folders, tables and tars
   * @throws {RepVGGError} immediately ERR_INVALID_ARGUMENT, ERR_NO_CLASSIFIER or ERR_DISPOSED; from the iteration, after all
   *   preceding rows, errors of the source, ERR_DISPOSED, ERR_DEVICE_LOST, ERR_DEVICE_REFUSED, ERR_OUT_OF_MEMORY, or the reason of `signal`
   * @example
   * const rows = model.score(openSource('photos'), {topK: 3});
   * for await (const row of rows) console.log(row.id, 'error' in row ? row.error.message : row);
   * console.log(rows.summary); // {ok: 998, failed: 2, skipped: 0, ...}
   */
  score<Output extends ScoreOutput = 'labels'>(
    source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
    options: ScoreOptions<Output> = {},
  ): Scores<Output> {
    checkScore(source, options);
    this.#needOpen();
    const compute = this.#computeRows(options);
    return scoreRecords(source, options, (items, imageOf, nameOf) =>
      runBatches(
        items,
        imageOf,
        {...this.#batchOptions(options), nameOf},
        (batch, cancel) => this.#whileOpen(() => compute(batch, cancel)),
        keep,
      ),
    ) as Scores<Output>;
  }

  /** {@link score} as an object-mode Duplex for `pipeline()`: write inputs, read rows. */
  scoreStream(options: ScoreOptions = {}): ScoreDuplex {
    checkScoreOptions(options);
    return scoreDuplex(source => this.score(source, options));
  }

  /** {@link score} as a Web TransformStream for `pipeThrough()`: write inputs, read rows. */
  scoreTransformStream<Output extends ScoreOutput = 'labels'>(
    options: ScoreOptions<Output> = {},
  ): ScoreTransformStream<Output> {
    checkScoreOptions(options);
    return scoreTransform(source => this.score(source, options));
  }

  /** Frees the network's memory once the calls in progress have finished. Later calls reject with ERR_DISPOSED. */
  dispose(): Promise<void> {
    this.#disposal ??= Promise.allSettled(this.#pending).then(() => this.#network.dispose());
    return this.#disposal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #batchOptions(
    options: RunOptions & Pick<ScoreOptions, 'batchSize'>,
  ): Omit<RunBatchesOptions<never>, 'nameOf'> {
    const {preprocessing, batchSize, device} = this;
    return {
      ...options,
      preprocessing,
      batchSize: options.batchSize ?? batchSize,
      devices: device.members.length,
    };
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

  /** Makes dispose() wait for `work`. */
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
      await this.#afterRun();
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
      await this.#afterRun();
      // slice() would give an array of the addon's realm, which under Jest is not that of its users.
      return slot => new Float32Array(values.subarray(slot * length, (slot + 1) * length));
    };
  }

  /** A GPU's memory is taken by the first run, and it says then how large a batch there is room for. */
  async #afterRun(): Promise<void> {
    if (this.#hasRun || this.device.backend === 'cpu') return;
    this.#hasRun = true;
    const {batchSize} = await describeNetwork(this.#network);
    if (batchSize >= this.batchSize) return;
    process.emitWarning(
      `Batches of ${this.batchSize} images do not fit on ${this.device.name}, which runs ${batchSize} at a time.`,
      {code: 'ERR_OUT_OF_MEMORY'},
    );
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
    checkOptions(options, runOptionNames);
    checkRunOptions(options);
    // Copied, since the caller may modify the array during the call.
    const batches = runBatches([...inputs], input => input, this.#batchOptions(options), compute, onFailure);
    return this.#whileOpen(async () => {
      const results: (Result | Failure)[] = [];
      for await (const {slots, resultOf} of batches) {
        for (const slot of slots) results.push(typeof slot === 'number' ? resultOf!(slot) : onFailure(slot));
      }
      return results;
    });
  }
}

function mapResults<From, To>(compute: Compute<From>, map: (result: From) => To): Compute<To> {
  return async (batch, cancel) => {
    const resultOf = await compute(batch, cancel);
    return slot => map(resultOf(slot));
  };
}

const throwFirst = (error: RepVGGError): never => {
  throw error;
};
