/** Reads a byte stream in pieces of any size. */
export class ByteReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#iterator = stream[Symbol.asyncIterator]();
  }

  /** Returns a copy of the next `count` bytes, or of what is left if the stream ends before. */
  async take(count: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    await this.#pass(count, part => parts.push(part));
    return Buffer.concat(parts);
  }

  /** Skips up to `count` bytes and returns how many it skipped. */
  async skip(count: number): Promise<number> {
    let skipped = 0;
    await this.#pass(count, ({length}) => {
      skipped += length;
    });
    return skipped;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }

  async #pass(count: number, use: (part: Uint8Array) => void): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0) {
        const {value, done} = await this.#iterator.next();
        if (done) return;
        this.#rest = value;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      use(part);
    }
  }
}
