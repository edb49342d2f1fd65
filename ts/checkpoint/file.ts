import type {FileHandle} from 'node:fs/promises';
import {fileError, invalidArgument, RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {openRegularFile} from '../files.ts';

/** The most bytes that one read call may ask for on every platform. */
const maxReadBytes = 2 ** 30;

/** An open file that is read by position. Every read is checked against the file's size before memory is taken. */
export class CheckpointFile {
  readonly path: string;
  readonly size: number;
  readonly #handle: FileHandle;
  #closed = false;

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
  }

  /** @throws {RepVGGError} ERR_INVALID_ARGUMENT, ERR_FILE_NOT_FOUND or ERR_FILE_READ */
  static async open(path: string): Promise<CheckpointFile> {
    if (typeof path !== 'string' || path === '')
      throw invalidArgument('path', 'the path of a checkpoint', path);
    const doing = `read checkpoint ${path}`;
    try {
      const {handle, size} = await openRegularFile(path);
      return new CheckpointFile(path, size, handle);
    } catch (error) {
      throw fileError(doing, error);
    }
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
      const {bytesRead} = await this.#handle
        .read(target, done, length, position + done)
        .catch((cause: unknown) => Promise.reject(fileError(`read checkpoint ${this.path}`, cause)));
      // The size was right when the file was opened, so another process has cut it since.
      if (bytesRead === 0) throw this.#truncated(position + done, what);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close();
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
