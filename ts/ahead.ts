import {unwatched} from './promises.ts';

/**
 * Does `work` for each input, for up to `most` of them at a time, and yields what it gives in order, as soon as it is there.
 * What the inputs throw comes after the outputs of those before. Whoever leaves early waits for what is under way.
 *
 * @param onLeave tells work and inputs that they are not wanted any more
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
        // A slow input does not keep the first output waiting.
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
