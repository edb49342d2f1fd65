/** The flags that each signal raises. A signal has one listener however many calls it is given to: Node warns of more than ten. */
const flagsOf = new WeakMap<AbortSignal, Set<Uint8Array>>();

/** Sets `flag[0]` to 1 when the signal is aborted, until the returned function is called. */
export function raiseOnAbort(signal: AbortSignal, flag: Uint8Array): () => void {
  const flags = flagsOf.get(signal) ?? new Set();
  if (flags.size === 0) {
    flagsOf.set(signal, flags);
    signal.addEventListener('abort', raiseAll);
  }
  flags.add(flag);
  return () => {
    flags.delete(flag);
    if (flags.size === 0) signal.removeEventListener('abort', raiseAll);
  };
}

function raiseAll(this: AbortSignal): void {
  for (const flag of flagsOf.get(this) ?? []) flag[0] = 1;
}
