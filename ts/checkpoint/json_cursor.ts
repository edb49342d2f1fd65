import type {RepVGGError} from '../errors.ts';

/** Members of one object, whose names are all kept until it ends. */
const maxMembers = 100_000;

/**
 * A pull parser for JSON of a known shape, which creates only the values that are asked for. `JSON.parse` would take ten
 * times the memory of a hostile text, and silently accepts duplicate names.
 */
export class JsonCursor {
  readonly #text: string;
  readonly #corrupt: (problem: string) => RepVGGError;
  #position = 0;

  constructor(text: string, corrupt: (problem: string) => RepVGGError) {
    this.#text = text;
    this.#corrupt = corrupt;
  }

  /** Reads an object; `member` must read the value after each name. */
  object(member: (name: string) => void): void {
    const names = new Set<string>();
    this.#items('{', '}', () => {
      const name = this.string();
      if (names.has(name)) throw this.fail(`two members named ${JSON.stringify(name.slice(0, 100))}`);
      if (names.size === maxMembers) throw this.fail(`more than ${maxMembers} members of an object`);
      names.add(name);
      this.#expect(':');
      member(name);
    });
  }

  /** Reads an array; `item` must read each of its values. */
  array(item: () => void): void {
    this.#items('[', ']', item);
  }

  string(): string {
    this.#expect('"');
    const start = this.#position - 1;
    for (;;) {
      const quote = this.#text.indexOf('"', this.#position);
      if (quote < 0) throw this.fail('a string without an end');
      this.#position = quote + 1;
      let backslash = quote - 1;
      while (this.#text[backslash] === '\\') backslash--;
      if ((quote - backslash) % 2 === 1) break;
    }
    try {
      return JSON.parse(this.#text.slice(start, this.#position)) as string;
    } catch {
      throw this.fail('a malformed string');
    }
  }

  /** An integer from 0 to 2^53 - 1. */
  integer(): number {
    this.#skipSpace();
    const digits = /(?:0|[1-9]\d{0,15})(?![\d.eE])/y;
    digits.lastIndex = this.#position;
    const value = Number(digits.exec(this.#text)?.[0] ?? NaN);
    if (!Number.isSafeInteger(value)) throw this.fail('no integer from 0 to 2^53 - 1');
    this.#position = digits.lastIndex;
    return value;
  }

  /** Skips a value of any kind; only the depth of its brackets is checked. */
  skip(): void {
    const token = /[^"[\]{},]+|["[\]{},]/y;
    for (let depth = 0, first = true; ; first = false) {
      this.#skipSpace();
      token.lastIndex = this.#position;
      const found = token.exec(this.#text)?.[0];
      if (found === undefined) throw this.fail('an end where a value should be');
      const ends = depth === 0 && !first && /^[\]},]$/.test(found);
      if (ends) return;
      if (found === '"') this.string();
      else this.#position = token.lastIndex;
      if (found === '[' || found === '{') depth++;
      if (found === ']' || found === '}') depth--;
      if (depth < 0 || (first && found === ',')) throw this.fail('no value');
    }
  }

  /** Checks that only white space follows. */
  end(): void {
    this.#skipSpace();
    if (this.#position < this.#text.length) throw this.fail('text behind its end');
  }

  fail(found: string): RepVGGError {
    return this.#corrupt(`has ${found} at character ${this.#position}`);
  }

  #items(open: string, close: string, item: () => void): void {
    this.#expect(open);
    this.#skipSpace();
    if (this.#text[this.#position] === close) {
      this.#position++;
      return;
    }
    for (;;) {
      item();
      this.#skipSpace();
      const next = this.#text[this.#position];
      if (next !== ',' && next !== close) throw this.fail(`no "," or "${close}"`);
      this.#position++;
      if (next === close) return;
    }
  }

  #expect(character: string): void {
    this.#skipSpace();
    if (this.#text[this.#position] !== character) throw this.fail(`no ${character}`);
    this.#position++;
  }

  #skipSpace(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#position] ?? '')) this.#position++;
  }
}
