import type {RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images/images.ts';
import {fromNative, type NativeBatch} from '../native/addon.ts';
import {workAhead} from '../support/ahead.ts';
import {followSignal, raiseOnAbort} from '../support/cancellation.ts';
import {type ComputedBatch, type PreparedBatch, type PrepareOptions, prepareBatches} from './batches.ts';

/** Runs the network on a batch, and says how to get the result of one of its images. `cancel[0] = 1` ends it early. */
export type Compute<Result> = (batch: NativeBatch, cancel: Uint8Array) => Promise<(slot: number) => Result>;

/** What becomes of an input that cannot be read. It is asked before the input's batch is computed, too, so that it can throw. */
export type OnFailure<Failure> = (error: RepVGGError) => Failure;

export const keep: OnFailure<RepVGGError> = error => error;

export interface RunBatchesOptions<Item> extends Omit<PrepareOptions<Item>, 'signal'> {
  /** How many devices share the batches. */
  devices: number;
  signal?: AbortSignal | undefined;
}

/** Batches of one call that a device has at a time: while one is computed, the next is on its way. */
const batchesInFlight = 2;

/** Prepares and computes batches, several at a time, and gives them in order. */
export async function* runBatches<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  imageOf: (item: Item) => ImageInput | RepVGGError,
  options: RunBatchesOptions<Item>,
  compute: Compute<Result>,
  onFailure: OnFailure<unknown>,
): AsyncGenerator<ComputedBatch<Item, Result>> {
  const {signal, devices} = options;
  signal?.throwIfAborted();
  const cancel = new Uint8Array(1);
  const {controller, forget} = followSignal(signal);
  raiseOnAbort(controller.signal, cancel);
  const prepared = prepareBatches(items, imageOf, {...options, signal: controller.signal});
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
    yield* workAhead(prepared, batchesInFlight * devices, run, () => controller.abort());
  } catch (error) {
    signal?.throwIfAborted();
    throw fromNative(error);
  } finally {
    forget();
  }
}
