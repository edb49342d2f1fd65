import {dirname, join} from 'node:path';
import {fileError, invalidArgument, RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {openRegularFile} from '../files.ts';

/** The most bytes that one read call may ask for on every platform. */
const maxReadBytes = 2 ** 30;

/** Reads up to `length` bytes into the start of `target` and resolves to their number, 0 at the end. */
type ReadAt = (target: Uint8Array, length: number, position: number) => Promise<number>;

/** An open file that is read by position. Every read is checked against the file's size before memory is taken. */
export class CheckpointFile {
  readonly path: string;
  readonly size: number;
  readonly #readAt: ReadAt;
  readonly #closeSource: () => Promise<void>;
  readonly #siblings: CheckpointFile[] = [];
  #closed = false;

  private constructor(path: string, size: number, readAt: ReadAt, close: () => Promise<void>) {
    this.path = path;
    this.size = size;
    this.#readAt = readAt;
    this.#closeSource = close;
  }

  /** @throws {RepVGGError} ERR_INVALID_ARGUMENT, ERR_FILE_NOT_FOUND or ERR_FILE_READ */
  static async open(path: string): Promise<CheckpointFile> {
    if (typeof path !== 'string' || path === '')
      throw invalidArgument('path', 'the path of a checkpoint', path);
    const doing = `read checkpoint ${path}`;
    try {
      const {handle, size} = await openRegularFile(path);
      const readAt: ReadAt = async (target, length, position) =>
        (await handle.read(target, 0, length, position)).bytesRead;
      return new CheckpointFile(path, size, readAt, () => handle.close());
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
    return new CheckpointFile(path, bytes.length, readAt, async () => {});
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

  /** Builds the error for a problem with this file's content, as "Cannot read checkpoint PATH: PROBLEM." */
  fail(code: RepVGGErrorCode, problem: string, cause?: unknown): RepVGGError {
    const message = `Cannot read checkpoint ${this.path}: ${problem}.`;
    return new RepVGGError(code, message, cause === undefined ? undefined : {cause});
  }

  /** Reads a range; `what` names it in errors. */
  async read(position: number, length: number, what: string): Promise<Buffer> {
    this.#check(position, length, what);
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
    this.#check(position, target.length, what);
    if (this.#closed) throw new RepVGGError('ERR_DISPOSED', `Checkpoint ${this.path} is closed.`);
    for (let done = 0; done < target.length; ) {
      const length = Math.min(target.length - done, maxReadBytes);
      const rest = done === 0 ? target : target.subarray(done);
      const bytesRead = await this.#readAt(rest, length, position + done).catch((cause: unknown) =>
        Promise.reject(fileError(`read checkpoint ${this.path}`, cause)),
      );
      // The size was right when the file was opened, so another process has cut it since.
      if (bytesRead === 0) throw this.#truncated(position + done, what);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([this.#closeSource(), ...this.#siblings.map(sibling => sibling.close())]);
  }

  #check(position: number, length: number, what: string): void {
    if (position + length > this.size) throw this.#truncated(this.size, what);
  }

  #truncated(position: number, what: string): RepVGGError {
    return this.fail(
      'ERR_CHECKPOINT_TRUNCATED',
      `the file ends at byte ${position}, inside ${what}, so download or copy it again`,
    );
  }
}

/** Text of a file made fit for an error message: control characters escaped, and not endless. */
export function printable(text: string): string {
  const clipped = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return JSON.stringify(clipped).slice(1, -1);
}
