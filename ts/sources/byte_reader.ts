/** Takes bytes out of a stream, as many as are asked for. */
export class ByteReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#iterator = stream[Symbol.asyncIterator]();
  }

  /** The next bytes, in memory of their own; fewer where the stream ends. */
  async take(count: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    await this.#pass(count, part => parts.push(part));
    return Buffer.concat(parts);
  }

  /** Passes over bytes. Returns how many there were. */
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
