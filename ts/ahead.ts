/**
 * Does `work` for each input, for up to `most` of them at a time, and yields what it gives in order, as soon as it is there.
 * Whoever leaves early waits for what is under way.
 *
 * @param onLeave tells that work that it is not wanted any more
 */
export async function* workAhead<Input, Output>(
  inputs: AsyncGenerator<Input>,
  most: number,
  work: (input: Input) => Promise<Output>,
  onLeave: () => void,
): AsyncGenerator<Output> {
  const underWay: Promise<Output>[] = [];
  let next: Promise<IteratorResult<Input>> | undefined;
  let ended = false;
  try {
    while (!ended || underWay.length > 0) {
      const first = underWay[0];
      if (!ended && underWay.length < most) {
        next ??= unwatched(inputs.next());
        // A slow input does not keep the first output waiting.
        const input = await (first ? Promise.race([next, first.then(() => undefined)]) : next);
        if (input) {
          next = undefined;
          if (input.done) ended = true;
          else underWay.push(unwatched(work(input.value)));
          continue;
        }
      }
      yield await first!;
      underWay.shift();
    }
  } finally {
    onLeave();
    await Promise.allSettled([...underWay, inputs.return(undefined)]);
  }
}

/** A promise that is awaited later, if it ever is: until then nobody is told of its failure. */
export function unwatched<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => {});
  return promise;
}
