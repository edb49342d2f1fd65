/** Marks a promise that is awaited later, if at all, so that its rejection is not reported as unhandled. */
export function unwatched<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => {});
  return promise;
}

/**
 * Waits for all parts of a task. Once one fails, by a rejection or null, the flag `cancel[0]` tells the others to stop;
 * they are waited for all the same, since they use memory and files that the caller goes on to release.
 *
 * @throws the first rejection
 */
export async function allOrCancel<Result>(
  parts: readonly Promise<Result | null>[],
  cancel: Uint8Array,
): Promise<(Result | null)[]> {
  const failures: unknown[] = [];
  const results = await Promise.all(
    parts.map(part =>
      part
        .catch((error: unknown) => {
          failures.push(error);
          return null;
        })
        .then(result => {
          if (result === null) cancel[0] = 1;
          return result;
        }),
    ),
  );
  if (failures.length > 0) throw failures[0];
  return results;
}

/** Whether a promise settles before performance.now() reaches `time`. */
export async function settlesBy(promise: Promise<unknown>, time: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>(resolve => {
    timer = setTimeout(resolve, Math.max(0, time - performance.now()), false);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}
