import {invalidArgument} from '../errors.ts';

/** The names of all fields of `Options`: the compiler notices one that is missing. */
export type FieldNames<Options> = Readonly<Record<keyof Options, unknown>>;

/**
 * Checks that options are an object with no other fields than these: one that is ignored, such as {topk: 3} or {size: 320}, would
 * change the results unnoticed.
 */
export function checkOptions<Options>(options: Options, names: FieldNames<Options>, name = 'options'): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgument(name, 'an object', options);
  }
  const unknown = Object.keys(options).find(field => !Object.hasOwn(names, field));
  if (unknown === undefined) return;
  const list = Object.keys(names).map(field => `"${field}"`);
  throw invalidArgument(`the fields of ${name}`, list.join(', '), unknown);
}

/** Checks a signal by its methods, since it may come from another realm. */
export function checkSignal(signal: AbortSignal | undefined, name = 'signal'): void {
  const methods = ['throwIfAborted', 'addEventListener', 'removeEventListener'] as const;
  if (signal !== undefined && !methods.every(method => typeof signal?.[method] === 'function')) {
    throw invalidArgument(name, 'an AbortSignal', signal);
  }
}

export function positiveInteger(value: number, name: string, most: number = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  const limit = most === Number.MAX_SAFE_INTEGER ? '' : ` up to ${most}`;
  throw invalidArgument(name, `a positive integer${limit}`, value);
}

/** The longest delay of a timer. */
export const mostMilliseconds: number = 2 ** 31 - 1;

/** Whether a value is an iterable or async iterable object. Strings are not, although their characters can be iterated. */
export function isIterable(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value)
  );
}
