import type {ByteSource, CheckpointFile} from './file.ts';

/** What is read ahead of a parser at a time: some hundred small fields, or the header of one large one. */
const readAheadBytes = 2 ** 15;

/** A range of a file, or of memory, that nobody has read yet. */
export interface ByteRange extends ByteSource {
  readonly length: number;
}

/**
 * A window that moves over a file, or over bytes in memory, for parsers of files that are mostly weights: they look at
 * what stands between the weights, and step over those. So a file of any size is parsed in the memory of one window.
 */
export class ByteWindow {
  position = 0;
  readonly size: number;
  readonly #file: CheckpointFile | undefined;
  readonly #what: string;
  #bytes: Buffer;
  #start = 0;

  /** @param what names the content in errors */
  constructor(source: CheckpointFile | Buffer, what: string, position = 0) {
    this.position = position;
    this.size = Buffer.isBuffer(source) ? source.length : source.size;
    this.#file = Buffer.isBuffer(source) ? undefined : source;
    this.#bytes = Buffer.isBuffer(source) ? source : Buffer.alloc(0);
    this.#what = what;
  }

  /** Bytes from the position to the end. */
  get left(): number {
    return this.size - this.position;
  }

  /** Whether as many bytes are at hand from the position on, or all there are. */
  holds(length: number): boolean {
    const end = Math.min(this.position + length, this.size);
    return this.position >= this.#start && end <= this.#start + this.#bytes.length;
  }

  /** Gets as many bytes at hand, or all there are. */
  async fill(length: number): Promise<void> {
    if (!this.#file || this.holds(length)) return;
    const count = Math.min(Math.max(length, readAheadBytes), Math.max(0, this.left));
    this.#bytes = await this.#file.read(this.position, count, this.#what);
    this.#start = this.position;
  }

  /** The bytes at the position, which the window has to hold, and there have to be. Does not move on. */
  peek(length: number): Buffer {
    const start = this.position - this.#start;
    return this.#bytes.subarray(start, start + length);
  }

  /** A range of the source, whether the window holds it or not. */
  range(position: number, length: number): ByteRange {
    if (this.#file) return {length, ...this.#file.from(position, this.#what)};
    const bytes = this.#bytes.subarray(position, position + length);
    return {
      length,
      async readInto(target, offset) {
        target.set(bytes.subarray(offset, offset + target.length));
      },
    };
  }
}
