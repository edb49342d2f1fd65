import {setImmediate as nextTurn} from 'node:timers/promises';

/** Numbers that are converted, checked or fused in a few milliseconds. */
export const sliceLength: number = 2 ** 18;

/**
 * Works through `count` items in slices, and lets the event loop have a turn after each of them but the last.
 *
 * @param work does the items from `first` to before `end`
 * @param itemLength what an item counts as, in numbers of a tensor
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
