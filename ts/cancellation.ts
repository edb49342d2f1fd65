/** What each signal ends. A signal has one listener however many calls it is given to: Node warns of more than ten. */
const actionsOf = new WeakMap<AbortSignal, Set<() => void>>();

/** Does `action` when the signal is aborted, unless the returned function is called before. */
export function onAbort(signal: AbortSignal, action: () => void): () => void {
  const actions = actionsOf.get(signal) ?? new Set();
  if (actions.size === 0) {
    actionsOf.set(signal, actions);
    signal.addEventListener('abort', doAll);
  }
  const own = (): void => action(); // An action may be given twice.
  actions.add(own);
  return () => {
    actions.delete(own);
    if (actions.size === 0) signal.removeEventListener('abort', doAll);
  };
}

function doAll(this: AbortSignal): void {
  for (const action of [...(actionsOf.get(this) ?? [])]) action();
}

/** Sets `flag[0]` to 1 when the signal is aborted, until the returned function is called. */
export function raiseOnAbort(signal: AbortSignal, flag: Uint8Array): () => void {
  return onAbort(signal, () => {
    flag[0] = 1;
  });
}

/** A signal that follows another one and can be aborted by itself, until the returned `forget` is called. */
export function followSignal(signal: AbortSignal | undefined): {
  controller: AbortController;
  forget: () => void;
} {
  const controller = new AbortController();
  const follow = (): void => controller.abort(signal!.reason);
  if (signal?.aborted) follow();
  return {controller, forget: signal ? onAbort(signal, follow) : () => {}};
}

/**
 * What the promise settles to, or a rejection with the signal's reason once that is aborted. Not Promise.race(): one that
 * has a promise for all calls would remember each of them.
 */
export function untilAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const forget = onAbort(signal, () => reject(signal.reason as Error));
    promise.then(resolve, reject).finally(forget);
  });
}

/** The items of a source until the signal is aborted: then it ends, as if there were no more. */
export async function* untilStopped<Item>(
  source: Iterable<Item> | AsyncIterable<Item>,
  stop: AbortSignal,
): AsyncGenerator<Item> {
  const iterator =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  try {
    while (!stop.aborted) {
      const result = await untilAborted(Promise.resolve(iterator.next()), stop);
      if (result.done) return;
      yield result.value;
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    // Not awaited: a source that waits for its next item may do so forever.
    Promise.resolve(iterator.return?.()).catch(() => {});
  }
}
