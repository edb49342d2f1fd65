import type {RepVGGError} from '../errors.ts';

/** Values one pickle may make. A RepVGG state dict makes some thousands, a training checkpoint some ten thousand. */
export const maxValues = 1_000_000;

/** The values that a pickle works on: a stack with marks in it, and a memo of values to be used again. */
export class PickleStack {
  readonly #corrupt: (problem: string) => RepVGGError;
  readonly #values: unknown[] = [];
  /** Stack heights. Nothing below the last one may be popped before its mark is. */
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

  /** The topmost values, of which the first was pushed first. */
  take(count: number): unknown[] {
    if (this.#above < count) throw this.#corrupt('takes more values than it made');
    return this.#values.splice(-count);
  }

  mark(): void {
    this.#marks.push(this.#values.length);
  }

  /** Takes what is above the last mark, and the mark. */
  popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#corrupt('ends a group that it did not begin');
    return this.#values.splice(mark);
  }

  /** Takes away a value, or a mark that nothing is above. */
  drop(): void {
    if (this.#above === 0) this.popMark();
    else this.#values.pop();
  }

  /** The value at the top, which stays there. */
  top<T = unknown>(is: (value: unknown) => value is T = isAnything): T {
    const value = this.#values.at(-1);
    if (this.#above === 0 || !is(value)) throw this.#corrupt('adds to a value that cannot hold it');
    return value;
  }

  /** How many values the memo has. */
  get kept(): number {
    return this.#memo.size;
  }

  /** Notes the value at the top. Writers count up from 0: numbers of a file's free choice could be made to collide. */
  keep(index: number): void {
    if (!Number.isInteger(index) || index < 0 || index > maxValues)
      throw this.#corrupt('keeps a value where no writer would');
    this.#memo.set(index, this.top());
  }

  recall(index: number): unknown {
    if (!this.#memo.has(index)) throw this.#corrupt('recalls a value that it did not keep');
    return this.#memo.get(index);
  }

  /** How many values are above the last mark. */
  get #above(): number {
    return this.#values.length - (this.#marks.at(-1) ?? 0);
  }
}

const isAnything = <T>(_value: unknown): _value is T => true;
