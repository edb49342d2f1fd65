import {availableParallelism} from 'node:os';
import {RepVGGError} from './errors.ts';
import {type ImageInput, inputName, prepareImage} from './images.ts';
import type {NativeBatch} from './native.ts';
import type {Preprocessing} from './preprocessing.ts';

/** Images made ready together, and what became of each of the inputs they were made from. */
export interface PreparedBatch {
  /** The images that could be read, in order. */
  batch: NativeBatch;
  /** For each input its position in `batch`, or why it has none. */
  slots: (number | RepVGGError)[];
}

/** Images on their way at the same time: one for each thread, and one that waits, so that no thread does. */
export const imagesInFlight: number = 2 * availableParallelism();

/**
 * Decodes, resizes and crops inputs batch by batch. The next batch is prepared while the caller works on the last one, and none
 * beyond it.
 *
 * @throws the signal's reason once it is aborted
 */
export async function* prepareBatches(
  inputs: readonly ImageInput[],
  preprocessing: Preprocessing,
  batchSize: number,
  signal?: AbortSignal,
): AsyncGenerator<PreparedBatch> {
  let left = false;
  const isWanted = (): boolean => {
    signal?.throwIfAborted();
    return !left;
  };
  const start = (first: number): Promise<PreparedBatch> => {
    const prepared = prepareBatch(inputs.slice(first, first + batchSize), first, preprocessing, isWanted);
    prepared.catch(() => {}); // Seen when it is awaited, if it ever is.
    return prepared;
  };
  let next = inputs.length > 0 ? start(0) : undefined;
  try {
    for (let first = batchSize; next; first += batchSize) {
      const ready = await next;
      next = first < inputs.length ? start(first) : undefined;
      yield ready;
    }
  } finally {
    left = true; // The caller may have had enough before the end.
  }
}

async function prepareBatch(
  inputs: readonly ImageInput[],
  first: number,
  preprocessing: Preprocessing,
  isWanted: () => boolean,
): Promise<PreparedBatch> {
  const {crop} = preprocessing;
  const size = crop * crop * 3;
  const pixels = new Uint8Array(inputs.length * size);
  const slots: (number | RepVGGError)[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < inputs.length && isWanted(); i = next++) {
      try {
        await prepareImage(inputs[i]!, inputName(inputs[i]!, first + i), preprocessing, pixels, i * size);
        slots[i] = i;
      } catch (error) {
        if (!(error instanceof RepVGGError)) throw error;
        slots[i] = error;
      }
    }
  };
  await Promise.all(Array.from({length: Math.min(imagesInFlight, inputs.length)}, work));
  return {batch: {pixels, count: closeGaps(pixels, slots, size)}, slots};
}

/** Moves the images behind failed ones forward and returns how many there are. */
function closeGaps(pixels: Uint8Array, slots: (number | RepVGGError)[], size: number): number {
  let count = 0;
  for (const [i, slot] of slots.entries()) {
    if (typeof slot !== 'number') continue;
    if (count < i) pixels.copyWithin(count * size, i * size, (i + 1) * size);
    slots[i] = count++;
  }
  return count;
}
