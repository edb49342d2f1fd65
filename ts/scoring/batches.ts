import {RepVGGError} from '../errors.ts';
import type {RunOptions} from '../images/fetch_image.ts';
import {type ImageInput, inputName, prepareImage} from '../images/images.ts';
import type {NativeBatch} from '../native/addon.ts';
import {usableCores} from '../native/usable_cores.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {unwatched} from '../support/promises.ts';
import {Puller} from './puller.ts';

/** Images made ready together, and what became of each of the items they were made from. */
export interface PreparedBatch<Item> {
  items: Item[];
  /** The images that could be read, in order. */
  batch: NativeBatch;
  /** For each item its position in `batch`, or why it has none. */
  slots: (number | RepVGGError)[];
  /** For each item the milliseconds that reading, decoding and resizing it took. */
  milliseconds: number[];
}

/** A prepared batch, and how to get the result of one of its images. */
export interface ComputedBatch<Item, Result> extends PreparedBatch<Item> {
  /** By position in `batch`; none if that is empty. */
  resultOf: ((slot: number) => Result) | undefined;
  computeMilliseconds: number;
  /** The part of it in which no earlier batch of the same call was computed. */
  busyMilliseconds: number;
}

/** More images in a batch are a mistake. */
export const mostImages = 4096;

export interface PrepareOptions<Item> extends RunOptions {
  preprocessing: Preprocessing;
  /** What an image that has no path is called in messages. Default: "input" and its position. */
  nameOf?: ((item: Item) => string) | undefined;
  batchSize: number;
  /** Images on their way at the same time. Default: as many as keep the decoding threads busy. */
  concurrency?: number | undefined;
  /** Milliseconds that an item of a slow source waits for others to fill its batch. Default 1000. */
  maxWait?: number | undefined;
  /** Ends the preparation: it then throws the signal's reason, even while the source is silent. */
  signal: AbortSignal;
}

/** Images on their way at the same time: one for each thread, and one that waits, so that no thread does. */
export const imagesInFlight = (): number => 2 * usableCores();

/**
 * Decodes, resizes and crops images batch by batch. The next batch is prepared while the caller works on the last one, and none
 * beyond it. The images before an error of the source itself are prepared before it is thrown. A caller that leaves early aborts first.
 *
 * @param imageOf the image of an item, or why it has none
 * @throws the signal's reason once it is aborted; what the source throws
 */
export async function* prepareBatches<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  imageOf: (item: Item) => ImageInput | RepVGGError,
  options: PrepareOptions<Item>,
): AsyncGenerator<PreparedBatch<Item>> {
  const {batchSize, maxWait = 1000, signal} = options;
  const source = new Puller(items, signal);
  let position = 0;
  const start = async (): Promise<PreparedBatch<Item> | undefined> => {
    const pulled = await source.pull(batchSize, maxWait);
    if (pulled.length === 0) return undefined;
    const first = position;
    position += pulled.length;
    return prepareBatch(pulled, first, imageOf, options);
  };
  let next = unwatched(start());
  try {
    for (let ready = await next; ready; ready = await next) {
      next = unwatched(start());
      yield ready;
    }
  } finally {
    await next.catch(() => {}); // Nothing is decoded any more once the caller has left.
    await source.leave();
  }
}

async function prepareBatch<Item>(
  items: Item[],
  first: number,
  imageOf: (item: Item) => ImageInput | RepVGGError,
  options: PrepareOptions<Item>,
): Promise<PreparedBatch<Item>> {
  const {preprocessing, concurrency = imagesInFlight(), nameOf, signal} = options;
  const size = preprocessing.crop ** 2 * 3;
  const pixels = allocate(items.length, preprocessing.crop);
  const slots: (number | RepVGGError)[] = [];
  const milliseconds: number[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < items.length && !signal.aborted; i = next++) {
      const begin = performance.now();
      try {
        const input = imageOf(items[i]!);
        if (input instanceof RepVGGError) throw input;
        const name = inputName(input, nameOf?.(items[i]!) ?? `input ${first + i}`);
        await prepareImage(input, name, preprocessing, pixels, i * size, options);
        slots[i] = i;
      } catch (error) {
        if (!(error instanceof RepVGGError)) throw error;
        slots[i] = error;
      }
      milliseconds[i] = performance.now() - begin;
    }
  };
  await Promise.all(Array.from({length: Math.min(concurrency, items.length)}, work));
  signal.throwIfAborted();
  return {items, batch: {pixels, count: closeGaps(pixels, slots, size)}, slots, milliseconds};
}

/**
 * Memory for the pixels of a batch.
 *
 * @throws {RepVGGError} ERR_OUT_OF_MEMORY
 */
function allocate(count: number, crop: number): Uint8Array {
  try {
    return new Uint8Array(count * crop ** 2 * 3);
  } catch (cause) {
    throw doNotFit(count, crop, cause);
  }
}

/** The error of a batch that there is no memory for. */
export function doNotFit(count: number, crop: number, cause: unknown): RepVGGError {
  const message = `${count} images of ${crop} x ${crop} pixels do not fit into memory: use smaller batches.`;
  return new RepVGGError('ERR_OUT_OF_MEMORY', message, {cause});
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
