import {RepVGGError} from '../errors.ts';
import type {RepVGG} from '../model.ts';
import type {ScoreInput} from '../scoring/score.ts';
import type {FailedRow} from '../scoring/score_row.ts';
import type {Dataset} from './dataset.ts';
import {Meter, outcomeOf, rankOf} from './metrics.ts';
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
  const others = dataset.classes
    ? Array.from({length: numClasses}, (_, index) => index).filter(index => !dataset.classes!.has(index))
    : [];
  const real = {images: 0, correct: 0, correct5: 0};
  async function* records(): AsyncGenerator<ScoreInput> {
    for await (const record of dataset.samples()) {
      targets.push('target' in record ? record.target : -1);
      yield record;
    }
  }
  const start = performance.now();
  let [last, images, index] = [start, 0, 0];
  let batch = {rows: 0, images: 0, loss: 0, correct: 0, correct5: 0};
  const endBatch = async (): Promise<void> => {
    const now = performance.now();
    meters.time.add((now - last) / 1000, 1);
    last = now;
    if (batch.images > 0) {
      meters.loss.add(batch.loss / batch.images, batch.images);
      meters.top1.add((100 * batch.correct) / batch.images, batch.images);
      meters.top5.add((100 * batch.correct5) / batch.images, batch.images);
    }
    images += batch.images;
    batch = {rows: 0, images: 0, loss: 0, correct: 0, correct5: 0};
    await onProgress?.({batch: index++, batches, ...meters});
  };
  for await (const row of model.score(records(), {output: 'logits'})) {
    const target = targets.shift()!;
    batch.rows++;
    if ('error' in row) failed.push(row);
    else {
      for (const index of others) row.logits[index] = Number.NEGATIVE_INFINITY;
      const outcome = outcomeOf(row.logits, target);
      const right = realLabels?.(row.id) ?? [];
      if (right.length > 0) {
        const rank = Math.min(...right.map(index => rankOf(row.logits, index)));
        real.images++;
        real.correct += Number(rank === 0);
        real.correct5 += Number(rank < 5);
      }
      confusion[target]![outcome.predicted]!++;
      batch.images++;
      batch.loss += outcome.loss;
      batch.correct += Number(outcome.correct);
      batch.correct5 += Number(outcome.correct5);
    }
    if (batch.rows === model.batchSize) await endBatch();
  }
  if (batch.rows > 0) await endBatch();
  needCounted(images, failed);
  const seconds = (last - start) / 1000;
  return {
    images,
    top1: meters.top1.average,
    top5: meters.top5.average,
    loss: meters.loss.average,
    real: realLabels && {
      images: real.images,
      top1: (100 * real.correct) / (real.images || 1),
      top5: (100 * real.correct5) / (real.images || 1),
    },
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
