import {invalidArgument} from '../errors.ts';

/** Checks that options are an object, before their fields are accessed. */
export function checkOptions(options: unknown, name = 'options'): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgument(name, 'an object', options);
  }
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

/** Whether a value is an iterable or async iterable object. Strings are not, although their characters can be iterated. */
export function isIterable(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value)
  );
}
