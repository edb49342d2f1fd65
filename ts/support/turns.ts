import {setImmediate as nextTurn} from 'node:timers/promises';

/** Numbers that are converted, checked or fused in a few milliseconds. */
const sliceLength = 2 ** 18;

/**
 * Processes `count` items in slices, yielding to the event loop between them.
 *
 * @param work processes the items from `first` up to, not including, `end`
 * @param itemLength cost of an item, in numbers of a tensor
 * @throws the signal's reason once it is aborted
 */
export async function inSlices(
  count: number,
  work: (first: number, end: number) => void,
  {itemLength = 1, signal}: {itemLength?: number; signal?: AbortSignal | undefined} = {},
): Promise<void> {
  const step = Math.max(1, Math.floor(sliceLength / itemLength));
  for (let first = 0; first < count; first += step) {
    if (first > 0) await nextTurn();
    signal?.throwIfAborted();
    work(first, Math.min(count, first + step));
  }
}
