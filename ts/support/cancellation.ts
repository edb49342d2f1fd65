/** Abort actions by signal. Each signal gets a single listener, however many calls use it: Node warns about more than ten. */
const actionsOf = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `action` when the signal is aborted, unless the returned function is called first. */
export function onAbort(signal: AbortSignal, action: () => void): () => void {
  const actions = actionsOf.get(signal) ?? new Set();
  if (actions.size === 0) {
    actionsOf.set(signal, actions);
    signal.addEventListener('abort', doAll);
  }
  const own = (): void => action(); // The same action may be registered twice.
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

/** A controller that is also aborted by a signal, until the returned `forget` is called. */
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
 * Settles like the promise, or rejects with the signal's reason once it is aborted. Not by Promise.race(), which would leak:
 * a long-lived promise for the abort would keep a reaction for every call.
 */
export function untilAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const forget = onAbort(signal, () => reject(signal.reason as Error));
    promise.then(resolve, reject).finally(forget);
  });
}

/** Yields the items of a source until the signal is aborted, which ends the iteration without an error. */
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
    // Not awaited: a generator waiting for its next item handles this call only after that item.
    Promise.resolve(iterator.return?.()).catch(() => {});
  }
}
