import type {FileHandle} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {fileError, invalidArgument, RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {type OpenFile, openRegularFile} from '../support/files.ts';

/** The largest read that works on every platform. */
const maxReadBytes = 2 ** 30;

/** Small reads are served from cached pages of this size, since their neighbours are usually read next. */
const pageBytes = 2 ** 16;

/** Enough for a few readers at different positions. */
const keptPages = 8;

/** Enough to recognise every container: a tar has its magic at byte 257. */
const headBytes = 512;

/** Reads up to `length` bytes into `target` and resolves to their number, 0 at the end of the file. */
type ReadAt = (target: Uint8Array, length: number, position: number) => Promise<number>;

/** Bytes that are read on demand, usually from a file. */
export interface ByteSource {
  /** Fills `target` with the bytes from an offset on. */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  /** The place of a range in a file. Undefined if the file does not store the bytes as they are. */
  readonly locate?: ((offset: number, length: number) => Promise<FileRange>) | undefined;
}

/** A position in a file. */
export interface FileRange {
  readonly file: CheckpointFile;
  readonly position: number;
  /**
   * Compares the CRC-32 of the bytes with the stored one. Undefined if the file has none for this range.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT
   */
  readonly verify?: ((crc32: number) => void) | undefined;
}

/** A file open for positional reads. Every read is checked against the file's size before memory is allocated. */
export class CheckpointFile {
  readonly path: string;
  readonly size: number;
  readonly #readAt: ReadAt;
  /** Null for a file in memory. */
  readonly #handle: FileHandle | null;
  /** Its modification time when it was opened. */
  readonly #modified: bigint | null;
  readonly #siblings: CheckpointFile[] = [];
  /** Cached pages by index, least recently used first. */
  readonly #pages = new Map<number, Promise<Buffer>>();
  /** Work that uses the descriptor. */
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

  /** A file in memory. `path` names it in errors and locates its siblings. */
  static ofBytes(path: string, bytes: Uint8Array): CheckpointFile {
    const readAt: ReadAt = async (target, length, position) => {
      const part = bytes.subarray(position, position + length);
      target.set(part);
      return part.length;
    };
    return new CheckpointFile(path, bytes.length, readAt, null);
  }

  /**
   * Opens a file in the same folder, which this one refers to. It is closed together with this one.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_UNSAFE for a name that leads out of the folder, ERR_FILE_NOT_FOUND or ERR_FILE_READ
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
   * Builds the error for a problem with this file's content, "Cannot read checkpoint PATH: PROBLEM." For damaged files the
   * advice is added here; otherwise it is part of `problem`.
   */
  fail(code: RepVGGErrorCode, problem: string, cause?: unknown): RepVGGError {
    const isDamage = code === 'ERR_CHECKPOINT_TRUNCATED' || code === 'ERR_CHECKPOINT_CORRUPT';
    const advice = isDamage ? ', so download or copy it again' : '';
    const message = `Cannot read checkpoint ${this.path}: ${problem}${advice}.`;
    return new RepVGGError(code, message, cause === undefined ? undefined : {cause});
  }

  /** @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED if `what`, which ends at byte `end`, is cut off */
  checkEnd(end: number, what: string): void {
    if (end > this.size) throw this.#truncated(this.size, end, what);
  }

  /** Reads the first bytes, by which containers are recognised. */
  readHead(): Promise<Buffer> {
    return this.read(0, Math.min(headBytes, this.size), 'its first bytes');
  }

  /** Reads a range, which errors call `what`. */
  async read(position: number, length: number, what: string): Promise<Buffer> {
    this.checkEnd(position + length, what);
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes, position, what);
    return bytes;
  }

  /**
   * Fills `target` with the bytes from a position on.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED, ERR_FILE_READ or ERR_DISPOSED
   */
  async readInto(target: Uint8Array, position: number, what: string): Promise<void> {
    const end = position + target.length;
    this.checkEnd(end, what);
    if (this.#closed) throw new RepVGGError('ERR_DISPOSED', `Checkpoint ${this.path} is closed.`);
    const isSmall = this.#handle && target.length <= pageBytes / 2;
    const count = await (isSmall ? this.#copy(target, position) : this.#fill(target, position));
    // The size was checked when the file was opened, so it has been truncated since.
    if (count < target.length) throw this.#truncated(position + count, end, what);
  }

  /**
   * Checks, after everything was read, that all of it was of one version of the file: few formats have checksums.
   *
   * @throws {RepVGGError} ERR_FILE_READ if the file or one of its siblings was modified since it was opened
   */
  async checkUnchanged(): Promise<void> {
    const stats = await this.#handle?.stat({bigint: true}).catch((cause: unknown) => {
      throw fileError(`read checkpoint ${this.path}`, cause);
    });
    if (stats && (stats.mtimeNs !== this.#modified || Number(stats.size) !== this.size))
      throw this.fail(
        'ERR_FILE_READ',
        'the file was modified while it was read, so try again when it is complete',
      );
    await Promise.all(this.#siblings.map(sibling => sibling.checkUnchanged()));
  }

  /** Fills `target` from cached pages. Resolves to the number of bytes read, as `#fill` does. */
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
      if (count < page.length) this.#pages.delete(index); // Do not cache a failed read.
    }
    return page.subarray(0, count);
  }

  /** Resolves to the number of bytes read, fewer than asked for at the end of the file. */
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

  /** The bytes from a position on, which errors call `what`. */
  from(position: number, what: string): ByteSource {
    return {
      readInto: (target, offset) => this.readInto(target, position + offset, what),
      locate: async offset => ({file: this, position: position + offset}),
    };
  }

  /**
   * Runs `work` with the file descriptor, which stays open until the work is done. Resolves to null if there is no
   * descriptor: the file is in memory, or closed.
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

/** Text from a file for use in an error message: control characters are escaped, long text is clipped. */
export function printable(text: string): string {
  const clipped = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return JSON.stringify(clipped).slice(1, -1);
}
