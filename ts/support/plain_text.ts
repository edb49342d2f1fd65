/**
 * A value as text, the same on every machine: bytes in hexadecimal, times in UTC, lists and objects as JSON. null for what has
 * none.
 */
export function toText(value: unknown): string | null {
  const plain = value instanceof Date ? value.toJSON() : toPlain(value ?? null);
  if (plain === null || typeof plain === 'string') return plain;
  return typeof plain === 'object' ? toJson(plain) : String(plain);
}

/** JSON, also of what it has no values for. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key: string, plain: unknown) {
    const own = this[key];
    // A Buffer has made an object of itself by now.
    return toPlain(own instanceof Uint8Array ? own : plain);
  });
}

function toPlain(value: unknown): unknown {
  if (value instanceof Float32Array) return [...value];
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return typeof value === 'bigint' ? String(value) : value;
}

const string = /"[^"\\]*(?:\\.[^"\\]*)*"/;
const number = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/;
const stringsAndNumbers = new RegExp(`${string.source}|${number.source}`, 'g');

/**
 * What JSON.parse() gives, but that whole numbers a double cannot hold are text, as 64-bit ids often are: else two of them would
 * be one.
 */
export function fromJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (!/\d{16}/.test(text)) return value;
  return JSON.parse(
    text.replace(stringsAndNumbers, part =>
      /^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part)) ? `"${part}"` : part,
    ),
  );
}

/** A field, but not what all objects have: "constructor" is a name that a table may have, or lack. */
export function fieldOf(fields: object | null | undefined, name: string): unknown {
  if (!fields || (name in Object.prototype && !Object.hasOwn(fields, name))) return undefined;
  return (fields as Readonly<Record<string, unknown>>)[name];
}

/** 8309384 as "8,309,384", whatever the locale. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

/** A sentence as part of another: without its full stop. */
export function clause(sentence: string): string {
  return sentence.replace(/\.$/, '');
}
