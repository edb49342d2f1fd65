import {untilAborted} from '../support/cancellation.ts';
import {unwatched} from '../support/promises.ts';

/** Takes items from an iterable, several at a time. */
export class Puller<Item> {
  readonly #iterator: Iterator<Item> | AsyncIterator<Item>;
  readonly #signal: AbortSignal;
  /** The source has been asked for an item that it has not given yet. */
  #isWaiting = false;
  /** What was asked for and not waited for long enough. */
  #asked: Promise<IteratorResult<Item>> | undefined;
  #ended = false;
  #failure: {error: unknown} | undefined;

  constructor(items: Iterable<Item> | AsyncIterable<Item>, signal: AbortSignal) {
    this.#iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
    this.#signal = signal;
  }

  /**
   * The next `count` items, or the fewer that there are: in all, or `maxWait` milliseconds after the first of them. What the source
   * throws, the call after the one with the last items before it throws.
   *
   * @throws the signal's reason once it is aborted, even while the source does nothing
   */
  async pull(count: number, maxWait: number): Promise<Item[]> {
    if (this.#failure) throw this.#failure.error;
    const items: Item[] = [];
    let timer: NodeJS.Timeout | undefined;
    let late: Promise<undefined> | undefined;
    try {
      while (items.length < count && !this.#ended) {
        this.#asked ??= unwatched(this.#next());
        if (items.length > 0 && this.#isWaiting) {
          late ??= new Promise(resolve => {
            timer = setTimeout(resolve, maxWait, undefined);
          });
        }
        const result = await (late ? Promise.race([this.#asked, late]) : this.#asked);
        if (!result) break;
        this.#asked = undefined;
        if (result.done) this.#ended = true;
        else items.push(result.value);
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#ended = true;
      this.#failure = {error};
      if (items.length === 0) throw error;
    } finally {
      clearTimeout(timer);
    }
    return items;
  }

  /** Lets the source release what it holds. One that has yet to give an item does so when it has: that may take forever, so nobody waits. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const released = unwatched(Promise.resolve(this.#iterator.return?.()));
    if (!this.#isWaiting) await released;
  }

  async #next(): Promise<IteratorResult<Item>> {
    const result = this.#iterator.next();
    if (!('then' in result)) return result;
    this.#isWaiting = true;
    const settle = (): void => {
      this.#isWaiting = false;
    };
    result.then(settle, settle);
    return untilAborted(result, this.#signal);
  }
}
