import type {RepVGGError} from '../../errors.ts';

/** Values that a pickle may create. A RepVGG state dict has some thousands, a training checkpoint some ten thousand. */
export const maxValues = 1_000_000;

/** The state of a pickle machine: a stack with marks, and a memo. */
export class PickleStack {
  readonly #corrupt: (problem: string) => RepVGGError;
  readonly #values: unknown[] = [];
  /** Stack heights. Values below the last mark must not be popped before the mark is. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(corrupt: (problem: string) => RepVGGError) {
    this.#corrupt = corrupt;
  }

  push(value: unknown): void {
    this.#values.push(value);
  }

  pop(): unknown {
    return this.take(1)[0];
  }

  /** Pops values; the first of the result was pushed first. */
  take(count: number): unknown[] {
    if (this.#above < count) throw this.#corrupt('takes more values than it made');
    return this.#values.splice(-count);
  }

  mark(): void {
    this.#marks.push(this.#values.length);
  }

  /** Pops the last mark and returns the values above it. */
  popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#corrupt('ends a group that it did not begin');
    return this.#values.splice(mark);
  }

  /** Pops a value, or a mark if it is on top. */
  drop(): void {
    if (this.#above === 0) this.popMark();
    else this.#values.pop();
  }

  /** The value on top, which is not popped. */
  top<T = unknown>(is: (value: unknown) => value is T = isAnything): T {
    const value = this.#values.at(-1);
    if (this.#above === 0 || !is(value)) throw this.#corrupt('adds to a value that cannot hold it');
    return value;
  }

  /** The size of the memo. */
  get kept(): number {
    return this.#memo.size;
  }

  /** Memoises the value on top. Writers count up from 0; arbitrary indices could be chosen to collide in the Map. */
  keep(index: number): void {
    if (!Number.isInteger(index) || index < 0 || index > maxValues)
      throw this.#corrupt('keeps a value where no writer would');
    this.#memo.set(index, this.top());
  }

  recall(index: number): unknown {
    if (!this.#memo.has(index)) throw this.#corrupt('recalls a value that it did not keep');
    return this.#memo.get(index);
  }

  /** The number of values above the last mark. */
  get #above(): number {
    return this.#values.length - (this.#marks.at(-1) ?? 0);
  }
}

const isAnything = <T>(_value: unknown): _value is T => true;
