import type {ByteSource, CheckpointFile} from './file.ts';

/** Read-ahead: enough for some hundred small fields, or the header of a large one. */
const readAheadBytes = 2 ** 15;

/** A range of a file, or of memory, that is read on demand. */
export interface ByteRange extends ByteSource {
  readonly length: number;
}

/**
 * A read-ahead buffer over a file, or over bytes in memory, for parsers of files that consist mostly of weights: they read
 * what lies between the weights and skip those. So a file of any size is parsed in the memory of one buffer.
 */
export class ByteWindow {
  position = 0;
  readonly size: number;
  readonly #file: CheckpointFile | undefined;
  readonly #what: string;
  #bytes: Buffer;
  #start = 0;

  /** @param what name of the content, for errors */
  constructor(source: CheckpointFile | Buffer, what: string, position = 0) {
    this.position = position;
    this.size = Buffer.isBuffer(source) ? source.length : source.size;
    this.#file = Buffer.isBuffer(source) ? undefined : source;
    this.#bytes = Buffer.isBuffer(source) ? source : Buffer.alloc(0);
    this.#what = what;
  }

  /** The number of bytes from the position to the end. */
  get left(): number {
    return this.size - this.position;
  }

  /** Whether `length` bytes from the position on are buffered, or all that remain. */
  holds(length: number): boolean {
    const end = Math.min(this.position + length, this.size);
    return this.position >= this.#start && end <= this.#start + this.#bytes.length;
  }

  /** Buffers `length` bytes from the position on, or all that remain. */
  async fill(length: number): Promise<void> {
    if (!this.#file || this.holds(length)) return;
    const count = Math.min(Math.max(length, readAheadBytes), Math.max(0, this.left));
    this.#bytes = await this.#file.read(this.position, count, this.#what);
    this.#start = this.position;
  }

  /** The bytes at the position, which must exist and be buffered. Does not advance. */
  peek(length: number): Buffer {
    const start = this.position - this.#start;
    return this.#bytes.subarray(start, start + length);
  }

  /** A range of the source, buffered or not. */
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
