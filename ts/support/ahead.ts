import {unwatched} from './promises.ts';

/**
 * Maps inputs with `work`, up to `most` concurrently, and yields the outputs in order as soon as they are ready. An error of
 * the inputs is thrown after the outputs of all inputs before it. Leaving early waits for the work in progress.
 *
 * @param onLeave called when the consumer leaves, to cancel work and inputs
 */
export async function* workAhead<Input, Output>(
  inputs: AsyncGenerator<Input>,
  most: number,
  work: (input: Input) => Promise<Output>,
  onLeave: () => void,
): AsyncGenerator<Output> {
  const underWay: Promise<Output>[] = [];
  let next: Promise<IteratorResult<Input>> | undefined;
  let end: {failure?: Promise<unknown>} | undefined;
  try {
    while (!end || underWay.length > 0) {
      const first = underWay[0];
      if (!end && underWay.length < most) {
        next ??= unwatched(inputs.next());
        const asked = next;
        const failed = (): {failure: Promise<unknown>} => ({failure: asked});
        // A slow input must not delay the first output.
        const input = await Promise.race([
          asked.catch(failed),
          ...(first ? [first.then(() => undefined)] : []),
        ]);
        if (input) {
          next = undefined;
          if ('failure' in input) end = input;
          else if (input.done) end = {};
          else underWay.push(unwatched(work(input.value)));
          continue;
        }
      }
      yield await first!;
      underWay.shift();
    }
    await end?.failure;
  } finally {
    onLeave();
    await Promise.allSettled([...underWay, inputs.return(undefined)]);
  }
}
