import type {FileHandle} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {fileError, invalidArgument, RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {type OpenFile, openRegularFile} from '../files.ts';

/** The most bytes that one read call may ask for on every platform. */
const maxReadBytes = 2 ** 30;

/**
 * Of a small range, all these bytes around it are read and kept for a while: those beside it are asked for next, and a read
 * takes much longer than a copy.
 */
const pageBytes = 2 ** 16;

/** For a few readers at different places. */
const keptPages = 8;

/** Enough to tell containers apart: the first header of a tar has its mark at 257. */
const headBytes = 512;

/** Reads up to `length` bytes into the start of `target` and resolves to their number, 0 at the end. */
type ReadAt = (target: Uint8Array, length: number, position: number) => Promise<number>;

/** Bytes that somebody has, most often a file. */
export interface ByteSource {
  /** Fills `target` from an offset on. */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  /** Where in a file `length` bytes are from an offset on. There only where they lie there as they are. */
  readonly locate?: ((offset: number, length: number) => Promise<FileRange>) | undefined;
}

/** Where bytes begin in a file. */
export interface FileRange {
  readonly file: CheckpointFile;
  readonly position: number;
  /**
   * Compares the CRC-32 of these bytes with the one that the file has of them. Not there where it has none.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT
   */
  readonly verify?: ((crc32: number) => void) | undefined;
}

/** An open file that is read by position. Every read is checked against the file's size before memory is taken. */
export class CheckpointFile {
  readonly path: string;
  readonly size: number;
  readonly #readAt: ReadAt;
  /** Null where the file is in memory. */
  readonly #handle: FileHandle | null;
  /** When it was written last before it was opened. */
  readonly #modified: bigint | null;
  readonly #siblings: CheckpointFile[] = [];
  /** By their number, the last used at the end. */
  readonly #pages = new Map<number, Promise<Buffer>>();
  /** Who has the descriptor. */
  readonly #lent = new Set<Promise<unknown>>();
  #closed = false;

  private constructor(path: string, size: number, readAt: ReadAt, opened: OpenFile | null) {
    this.path = path;
    this.size = size;
    this.#readAt = readAt;
    this.#handle = opened?.handle ?? null;
    this.#modified = opened?.modified ?? null;
  }

  /** @throws {RepVGGError} ERR_INVALID_ARGUMENT, ERR_FILE_NOT_FOUND or ERR_FILE_READ */
  static async open(path: string): Promise<CheckpointFile> {
    if (typeof path !== 'string' || path === '')
      throw invalidArgument('path', 'the path of a checkpoint', path);
    const doing = `read checkpoint ${path}`;
    try {
      const opened = await openRegularFile(path);
      const {handle, size} = opened;
      const readAt: ReadAt = async (target, length, position) =>
        (await handle.read(target, 0, length, position)).bytesRead;
      return new CheckpointFile(path, size, readAt, opened);
    } catch (error) {
      throw fileError(doing, error);
    }
  }

  /** A file that is in memory; `path` names it in errors, and is where files that belong to it are looked for. */
  static ofBytes(path: string, bytes: Uint8Array): CheckpointFile {
    const readAt: ReadAt = async (target, length, position) => {
      const part = bytes.subarray(position, position + length);
      target.set(part);
      return part.length;
    };
    return new CheckpointFile(path, bytes.length, readAt, null);
  }

  /**
   * Opens a file that this one names and that lies beside it. It is closed with this one.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_UNSAFE for a name that leads elsewhere, ERR_FILE_NOT_FOUND or ERR_FILE_READ
   */
  async openSibling(name: string): Promise<CheckpointFile> {
    if (name === '' || name === '.' || name === '..' || /[/\\\0:]/.test(name)) {
      const problem = `it names the file ${printable(name)}, where only files of its own folder are read`;
      throw this.fail('ERR_CHECKPOINT_UNSAFE', problem);
    }
    const sibling = await CheckpointFile.open(join(dirname(this.path), name));
    this.#siblings.push(sibling);
    return sibling;
  }

  /**
   * Builds the error for a problem with this file's content, as "Cannot read checkpoint PATH: PROBLEM." What helps against
   * damage is always the same, and said here; of other problems it is a part.
   */
  fail(code: RepVGGErrorCode, problem: string, cause?: unknown): RepVGGError {
    const isDamage = code === 'ERR_CHECKPOINT_TRUNCATED' || code === 'ERR_CHECKPOINT_CORRUPT';
    const advice = isDamage ? ', so download or copy it again' : '';
    const message = `Cannot read checkpoint ${this.path}: ${problem}${advice}.`;
    return new RepVGGError(code, message, cause === undefined ? undefined : {cause});
  }

  /** @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED when the file ends before `what`, which ends at this byte, does */
  checkEnd(end: number, what: string): void {
    if (end > this.size) throw this.#truncated(this.size, end, what);
  }

  /** Reads the bytes by which containers are told. */
  readHead(): Promise<Buffer> {
    return this.read(0, Math.min(headBytes, this.size), 'its first bytes');
  }

  /** Reads a range; `what` names it in errors. */
  async read(position: number, length: number, what: string): Promise<Buffer> {
    this.checkEnd(position + length, what);
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes, position, what);
    return bytes;
  }

  /**
   * Fills `target` from a position on.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED, ERR_FILE_READ or ERR_DISPOSED
   */
  async readInto(target: Uint8Array, position: number, what: string): Promise<void> {
    const end = position + target.length;
    this.checkEnd(end, what);
    if (this.#closed) throw new RepVGGError('ERR_DISPOSED', `Checkpoint ${this.path} is closed.`);
    const isSmall = this.#handle && target.length <= pageBytes / 2;
    const count = await (isSmall ? this.#copy(target, position) : this.#fill(target, position));
    // The size was right when the file was opened, so another process has cut it since.
    if (count < target.length) throw this.#truncated(position + count, end, what);
  }

  /**
   * To be called when all has been read: values of which the file has no checksums may be those of two files.
   *
   * @throws {RepVGGError} ERR_FILE_READ when somebody has written to the file, or to one that it names, since it was opened
   */
  async checkUnchanged(): Promise<void> {
    const stats = await this.#handle?.stat({bigint: true}).catch((cause: unknown) => {
      throw fileError(`read checkpoint ${this.path}`, cause);
    });
    if (stats && (stats.mtimeNs !== this.#modified || Number(stats.size) !== this.size))
      throw this.fail(
        'ERR_FILE_READ',
        'somebody wrote to the file while it was read, so try again when it is complete',
      );
    await Promise.all(this.#siblings.map(sibling => sibling.checkUnchanged()));
  }

  /** Copies from pages. Resolves to how many bytes there were, as `#fill` does. */
  async #copy(target: Uint8Array, position: number): Promise<number> {
    for (let done = 0; done < target.length; ) {
      const index = Math.floor((position + done) / pageBytes);
      const page = await this.#page(index);
      const start = position + done - index * pageBytes;
      const part = page.subarray(start, start + target.length - done);
      if (part.length === 0) return done;
      target.set(part, done);
      done += part.length;
    }
    return target.length;
  }

  #page(index: number): Promise<Buffer> {
    const page = this.#pages.get(index) ?? this.#readPage(index);
    this.#pages.delete(index);
    this.#pages.set(index, page);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= keptPages) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  async #readPage(index: number): Promise<Buffer> {
    const start = index * pageBytes;
    const page = Buffer.allocUnsafeSlow(Math.min(pageBytes, this.size - start));
    let count = 0;
    try {
      count = await this.#fill(page, start);
    } finally {
      if (count < page.length) this.#pages.delete(index); // The next one tries again.
    }
    return page.subarray(0, count);
  }

  /** Resolves to how many bytes there were. */
  async #fill(target: Uint8Array, position: number): Promise<number> {
    for (let done = 0; done < target.length; ) {
      const length = Math.min(target.length - done, maxReadBytes);
      const rest = done === 0 ? target : target.subarray(done);
      const bytesRead = await this.#readAt(rest, length, position + done).catch((cause: unknown) =>
        Promise.reject(fileError(`read checkpoint ${this.path}`, cause)),
      );
      if (bytesRead === 0) return done;
      done += bytesRead;
    }
    return target.length;
  }

  /** The bytes from a position on; `what` names them in errors. */
  from(position: number, what: string): ByteSource {
    return {
      readInto: (target, offset) => this.readInto(target, position + offset, what),
      locate: async offset => ({file: this, position: position + offset}),
    };
  }

  /**
   * Lets `work` have the descriptor, which stays open until that is done. Null where there is none: the file is in memory,
   * or closed.
   */
  async lend<Result>(work: (descriptor: number) => Promise<Result>): Promise<Result | null> {
    if (this.#closed || !this.#handle) return null;
    const working = work(this.#handle.fd);
    this.#lent.add(working);
    try {
      return await working;
    } finally {
      this.#lent.delete(working);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled(this.#lent);
    await Promise.all([this.#handle?.close(), ...this.#siblings.map(sibling => sibling.close())]);
  }

  #truncated(size: number, end: number, what: string): RepVGGError {
    return this.fail(
      'ERR_CHECKPOINT_TRUNCATED',
      `the file ends at byte ${size}, before the end of ${what} at ${end}`,
    );
  }
}

/** Text of a file made fit for an error message: control characters escaped, and not endless. */
export function printable(text: string): string {
  const clipped = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return JSON.stringify(clipped).slice(1, -1);
}
