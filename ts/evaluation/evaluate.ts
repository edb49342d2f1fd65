import {RepVGGError} from '../errors.ts';
import type {RepVGG} from '../model.ts';
import type {ScoreInput} from '../scoring/score.ts';
import type {FailedRow} from '../scoring/score_row.ts';
import type {Dataset} from './dataset.ts';
import {Counts, Meter, outcomeOf, rankOf} from './metrics.ts';
import type {RealLabels} from './real_labels.ts';

/** What is known after a batch. Accuracies are percentages. */
export interface Progress {
  batch: number;
  /** How many there will be, where that is known. */
  batches: number | undefined;
  /** Seconds since the batch before. */
  time: Meter;
  loss: Meter;
  top1: Meter;
  top5: Meter;
}

export interface Evaluation {
  /** Images that were run. */
  images: number;
  /** Percentages of them. */
  top1: number;
  top5: number;
  /** Mean cross-entropy. */
  loss: number;
  /** By all the classes that are right for an image, where these are given: of those images that have one. */
  real: {images: number; top1: number; top5: number} | undefined;
  seconds: number;
  imagesPerSecond: number;
  /** Records that did not count. */
  failed: FailedRow[];
  /** [true class][predicted class], images */
  confusion: Uint32Array[];
}

export interface EvaluateOptions {
  realLabels?: RealLabels | undefined;
  onProgress?: ((progress: Progress) => Promise<void>) | undefined;
}

/**
 * Runs every image of a dataset, and counts. An image that cannot be read does not count, and is listed.
 *
 * @throws {RepVGGError} ERR_DATASET when none counts, besides the errors of the dataset and the model
 */
export async function evaluate(
  model: RepVGG,
  dataset: Dataset,
  {realLabels, onProgress}: EvaluateOptions = {},
): Promise<Evaluation> {
  const meters = {time: new Meter(), loss: new Meter(), top1: new Meter(), top5: new Meter()};
  const {numClasses} = model.architecture;
  const confusion = Array.from({length: numClasses}, () => new Uint32Array(numClasses));
  const failed: FailedRow[] = [];
  const batches = dataset.size === undefined ? undefined : Math.ceil(dataset.size / model.batchSize);
  /** Of the records under way; rows come in their order. */
  const targets: number[] = [];
  const excluded = [...confusion.keys()].filter(index => dataset.classes?.has(index) === false);
  const real = new Counts();
  async function* records(): AsyncGenerator<ScoreInput> {
    for await (const record of dataset.samples()) {
      targets.push('target' in record ? record.target : -1);
      yield record;
    }
  }
  const start = performance.now();
  let [last, images, index, rows, loss, batch] = [start, 0, 0, 0, 0, new Counts()];
  const endBatch = async (): Promise<void> => {
    const now = performance.now();
    meters.time.add((now - last) / 1000, 1);
    last = now;
    if (batch.images > 0) {
      meters.loss.add(loss / batch.images, batch.images);
      meters.top1.add(batch.top1, batch.images);
      meters.top5.add(batch.top5, batch.images);
    }
    images += batch.images;
    [rows, loss, batch] = [0, 0, new Counts()];
    await onProgress?.({batch: index++, batches, ...meters});
  };
  for await (const row of model.score(records(), {output: 'logits'})) {
    const target = targets.shift()!;
    rows++;
    if ('error' in row) failed.push(row);
    else {
      for (const index of excluded) row.logits[index] = Number.NEGATIVE_INFINITY;
      const outcome = outcomeOf(row.logits, target);
      batch.add(outcome.rank);
      loss += outcome.loss;
      confusion[target]![outcome.predicted]!++;
      const right = realLabels?.(row.id) ?? [];
      if (right.length > 0) real.add(Math.min(...right.map(index => rankOf(row.logits, index))));
    }
    if (rows === model.batchSize) await endBatch();
  }
  if (rows > 0) await endBatch();
  needCounted(images, failed);
  const seconds = (last - start) / 1000;
  return {
    images,
    top1: meters.top1.average,
    top5: meters.top5.average,
    loss: meters.loss.average,
    real: realLabels && {images: real.images, top1: real.top1, top5: real.top5},
    seconds,
    imagesPerSecond: images / seconds,
    failed,
    confusion,
  };
}

/** Where every image failed, an accuracy of zero would be none, and most often all have the same reason. */
export function needCounted(images: number, failed: readonly FailedRow[]): void {
  const [first] = failed;
  if (images > 0 || !first) return;
  const message = `Cannot evaluate: none of ${failed.length} images counts. The first is ${first.id}: ${first.error.message}`;
  throw new RepVGGError('ERR_DATASET', message);
}
