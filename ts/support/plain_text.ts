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

/** A value that a file has, in a message. Lists within lists could be a text without end, or deeper than the stack. */
export function shownValue(value: unknown): string {
  const isFlat = (item: unknown): boolean => typeof item !== 'object' || item === null;
  if (!isFlat(value) && !(Array.isArray(value) && value.every(isFlat))) return 'nested';
  return toJson(value).slice(0, 100);
}

function toPlain(value: unknown): unknown {
  if (value instanceof Float32Array) return [...value];
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return typeof value === 'bigint' ? String(value) : value;
}

/**
 * What JSON.parse() gives, but that whole numbers a double cannot hold are text, as 64-bit ids often are: else two of them would
 * be one.
 */
export function fromJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return /\d{16}/.test(text) ? JSON.parse(quoteLargeIntegers(text)) : value;
}

/** Not by an expression for whole strings: millions of escapes would need too much stack. */
function quoteLargeIntegers(json: string): string {
  const tokens = /"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let [result, copied] = ['', 0];
  for (let token = tokens.exec(json); token; token = tokens.exec(json)) {
    const [part] = token;
    if (part === '"') {
      tokens.lastIndex = endOfString(json, token.index);
    } else if (/^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part))) {
      result += `${json.slice(copied, token.index)}"${part}"`;
      copied = tokens.lastIndex;
    }
  }
  return result + json.slice(copied);
}

/** Where the JSON string ends that begins at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = start + 1; ; end++) {
    end = json.indexOf('"', end);
    let backslashes = 0;
    while (json[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end + 1;
  }
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
