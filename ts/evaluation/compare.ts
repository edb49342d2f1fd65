import type {RepVGGError} from '../errors.ts';
import type {RawImage} from '../images/images.ts';
import type {LoadOptions} from '../loading/load_network.ts';
import {openNetwork} from '../loading/open_network.ts';
import {RepVGG} from '../model.ts';
import {chooseDevice, type Precision} from '../native/device.ts';
import type {Form} from '../network.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {prepareBatches} from '../scoring/batches.ts';
import type {FailedRow} from '../scoring/score_row.ts';
import {argmax, differenceOf} from '../support/difference.ts';
import {type DatasetOptions, openDataset, type Sample} from './dataset.ts';
import {needCounted} from './evaluate.ts';
import {Counts, rankOf} from './metrics.ts';

/** One way of running the network, and how it did. The first of a comparison is what the others are compared with. */
export interface ComparedRun {
  form: Form;
  precision: Exclude<Precision, 'auto'>;
  /** Percentages. */
  top1: number;
  top5: number;
  /** Percentage of images whose likeliest class is that of the first run. */
  agreement: number;
  /** From those of the first run, over all classes of all images. */
  largestLogitDifference: number;
  /** Without decoding and resizing, which is done once for all. */
  imagesPerSecond: number;
}

export interface Comparison extends Pick<RepVGG, 'architecture' | 'device' | 'preprocessing'> {
  images: number;
  runs: ComparedRun[];
  failed: FailedRow[];
}

export type CompareOptions = Omit<LoadOptions, 'form' | 'precision'> & {dataset: DatasetOptions};

/**
 * Runs every image of a dataset as the network was trained and fused, in fp32 and in the half precision that the device
 * has, in one pass: images are read once.
 *
 * @throws {RepVGGError} the codes of `RepVGG.load` and `openDataset`
 */
export async function compareForms(
  checkpoint: string,
  dataset: string,
  {dataset: datasetOptions, ...options}: CompareOptions,
  onProgress?: (images: number) => void,
): Promise<Comparison> {
  const {architecture, storedForm, labels, preprocessing} = await describeNetwork(checkpoint, options);
  const opened = await openDataset(dataset, labels, datasetOptions);
  const forms: Form[] = storedForm === 'train' ? ['train', 'deploy'] : ['deploy'];
  await using runners = await loadAll(checkpoint, forms, {
    ...options,
    preprocessing: {...preprocessing, resize: 0},
  });
  const {batchSize, device} = runners.all[0]!.model;
  const failed: FailedRow[] = [];
  let images = 0;
  const controller = new AbortController();
  const prepared = prepareBatches(
    opened.samples(),
    record => ('error' in record ? record.error : record.image),
    {preprocessing, batchSize, signal: controller.signal},
  );
  for await (const {items, batch, slots} of prepared) {
    const targets: number[] = [];
    for (const [i, record] of items.entries()) {
      const slot = slots[i]!;
      if (typeof slot === 'number') targets.push((record as Sample).target);
      else failed.push({id: record.id, error: {code: slot.code, message: slot.message}});
    }
    const crops = cropsOf(batch.pixels, batch.count, preprocessing.crop);
    await runAll(runners.all, crops, targets).catch(error => {
      controller.abort(); // Or leaving the loop would wait for the next batch.
      throw error;
    });
    images += batch.count;
    onProgress?.(images);
  }
  needCounted(images, failed);
  return {
    architecture,
    device,
    preprocessing,
    images,
    runs: runners.all.map(runner => runner.result(images)),
    failed,
  };
}

async function describeNetwork(checkpoint: string, options: LoadOptions) {
  const {architecture, eps, onProgress, signal} = options;
  await using opened = await openNetwork(checkpoint, {architecture, eps, onProgress, signal});
  return {
    architecture: opened.architecture,
    storedForm: opened.structure.form,
    labels: await opened.labels(options.labels),
    preprocessing: await opened.preprocessing(options.preprocessing),
  };
}

/** Every way in which the device can run the network; fp32 as trained comes first. */
async function loadAll(
  checkpoint: string,
  forms: readonly Form[],
  options: LoadOptions & {preprocessing: Preprocessing},
): Promise<{all: Runner[]} & AsyncDisposable> {
  const {device} = chooseDevice(options.device ?? 'auto', 'auto');
  const half = device.backend === 'cuda' ? 'fp16' : 'bf16';
  const all: Runner[] = [];
  const dispose = async (): Promise<void> => {
    for (const {model} of all) await model.dispose();
  };
  try {
    for (const precision of ['fp32', half] as const) {
      for (const form of forms) {
        const model = await loadIfPossible(checkpoint, {...options, form, precision});
        if (!model) continue;
        const {crop} = options.preprocessing;
        const blank: RawImage = {
          data: new Uint8Array(3 * crop * crop),
          width: crop,
          height: crop,
          channels: 3,
        };
        await model.logits([blank]); // Memory is allocated at the first run.
        all.push(new Runner(model));
      }
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return {all, [Symbol.asyncDispose]: dispose};
}

/** null where the device has no such arithmetic for the form; fp32 is everywhere. */
async function loadIfPossible(checkpoint: string, options: LoadOptions): Promise<RepVGG | null> {
  try {
    return await RepVGG.load(checkpoint, options);
  } catch (error) {
    const {code} = error as RepVGGError;
    if (options.precision !== 'fp32' && code === 'ERR_PRECISION_UNSUPPORTED') return null;
    throw error;
  }
}

function cropsOf(pixels: Uint8Array, count: number, crop: number): RawImage[] {
  const size = 3 * crop * crop;
  return Array.from({length: count}, (_, i) => ({
    data: pixels.subarray(i * size, (i + 1) * size),
    width: crop,
    height: crop,
    channels: 3,
  }));
}

async function runAll(
  runners: readonly Runner[],
  images: RawImage[],
  targets: readonly number[],
): Promise<void> {
  if (images.length === 0) return;
  let reference: Float32Array[] | undefined;
  for (const runner of runners) {
    const logits = await runner.run(images);
    reference ??= logits;
    runner.count(logits, reference, targets);
  }
}

/** A network with what has been counted of it. */
class Runner {
  readonly model: RepVGG;
  readonly #counts = new Counts();
  #agreeing = 0;
  #largestDifference = 0;
  #seconds = 0;

  constructor(model: RepVGG) {
    this.model = model;
  }

  async run(images: RawImage[]): Promise<Float32Array[]> {
    const start = performance.now();
    const logits = await this.model.logits(images);
    this.#seconds += (performance.now() - start) / 1000;
    return logits;
  }

  count(
    logits: readonly Float32Array[],
    reference: readonly Float32Array[],
    targets: readonly number[],
  ): void {
    for (const [i, target] of targets.entries()) {
      const [own, other] = [logits[i]!, reference[i]!];
      this.#counts.add(rankOf(own, target));
      this.#agreeing += Number(argmax(own) === argmax(other));
      this.#largestDifference = Math.max(this.#largestDifference, differenceOf(own, other).largest);
    }
  }

  result(images: number): ComparedRun {
    const {form, precision} = this.model;
    return {
      form,
      precision,
      top1: this.#counts.top1,
      top5: this.#counts.top5,
      agreement: images === 0 ? 0 : (100 * this.#agreeing) / images,
      largestLogitDifference: this.#largestDifference,
      imagesPerSecond: this.#seconds === 0 ? 0 : images / this.#seconds,
    };
  }
}
