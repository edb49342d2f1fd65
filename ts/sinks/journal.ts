import {createReadStream} from 'node:fs';
import {type FileHandle, open, readFile, rename, rm, stat} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import {append, fileWriteError, replaceFile} from '../replace_file.ts';

/** How far a file of rows has come, as it is kept beside it. */
export interface Marker {
  /** What the rows were made with; a run that goes on has to be the same. */
  settings: Record<string, unknown>;
  /** Of the journal. What is behind them was not finished. */
  bytes: number;
  ok: number;
  failed: number;
  /** Rows, and so records of the source, from its beginning. */
  rows: number;
  /** Of the ids of these rows, in order. */
  idDigest: string;
  /** There are no more rows to come. */
  complete: boolean;
}

/** What the rows so far amount to. */
export type Progress = Omit<Marker, 'settings' | 'bytes' | 'complete'>;

const none = {bytes: 0, ok: 0, failed: 0, rows: 0, idDigest: '', complete: false};

/**
 * The rows of an output file that is not complete: FILE.partial, and beside it FILE.partial.json, which says how many of its
 * bytes count. A run that is killed leaves both, and the next goes on from there.
 */
export class Journal implements AsyncDisposable {
  readonly path: string;
  /** As it was last written, or as it was found. */
  marker: Marker;
  readonly #file: FileHandle;
  #bytes: number;

  private constructor(path: string, marker: Marker, file: FileHandle) {
    this.path = path;
    this.marker = marker;
    this.#file = file;
    this.#bytes = marker.bytes;
  }

  /**
   * @param resume goes on with what there is, if there is any; without it, that is an error, so that no work is lost unasked
   * @throws {RepVGGError} ERR_RESUME, ERR_FILE_WRITE
   */
  static async open(
    path: string,
    settings: Record<string, unknown>,
    resume: boolean,
  ): Promise<Journal | 'complete'> {
    const found = await readMarker(path);
    if (!found && resume && (await exists(path))) return 'complete';
    if (found && !resume) {
      const problem = `${path}.partial has ${found.rows} rows of a run that did not finish`;
      throw new RepVGGError(
        'ERR_RESUME',
        `Cannot write ${path}: ${problem}; resume it, or remove ${path}.partial.json to begin again.`,
      );
    }
    if (found) compareSettings(path, found.settings, settings);
    if (found?.complete && !(await exists(`${path}.partial`))) {
      await rm(markerPath(path), {force: true}); // Killed just after the output took its place.
      return 'complete';
    }
    const marker = found ?? {settings, ...none};
    try {
      const file = await open(`${path}.partial`, found ? 'r+' : 'w');
      try {
        await cutOff(file, path, marker.bytes);
        return new Journal(path, marker, file);
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (cause) {
      throw fileWriteError(`${path}.partial`, cause);
    }
  }

  /** Adds lines, which count once they are {@link commit}ted. */
  async append(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    try {
      for (let done = 0; done < bytes.length; ) {
        const position = this.#bytes + done;
        done += (await this.#file.write(bytes, done, bytes.length - done, position)).bytesWritten;
      }
      this.#bytes += bytes.length;
    } catch (cause) {
      throw fileWriteError(`${this.path}.partial`, cause);
    }
  }

  /** Makes all that was added count, whatever happens to the process or the machine. */
  async commit(progress: Progress, complete = false): Promise<void> {
    try {
      await this.#file.datasync();
    } catch (cause) {
      throw fileWriteError(`${this.path}.partial`, cause);
    }
    const marker = {...this.marker, ...progress, complete, bytes: this.#bytes};
    const text = `${JSON.stringify(marker, null, 2)}\n`;
    await replaceFile(markerPath(this.path), file => append(file, Buffer.from(text)));
    this.marker = marker;
  }

  /** Its lines, as they were committed. */
  async *lines(): AsyncGenerator<string> {
    if (this.marker.bytes === 0) return;
    let rest = '';
    const stream = createReadStream(`${this.path}.partial`, {end: this.marker.bytes - 1, encoding: 'utf8'});
    for await (const chunk of stream as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      yield* lines;
    }
  }

  /** Takes the place of the output: its lines are what that should be. */
  async become(): Promise<void> {
    try {
      await rename(`${this.path}.partial`, this.path);
    } catch (cause) {
      throw fileWriteError(this.path, cause);
    }
  }

  /** Removes it, once the output is complete. The marker goes last: without a journal, it says that the output is complete. */
  async remove(): Promise<void> {
    await rm(`${this.path}.partial`, {force: true});
    await rm(markerPath(this.path), {force: true});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

const markerPath = (path: string): string => `${path}.partial.json`;

async function readMarker(path: string): Promise<Marker | undefined> {
  let text: string;
  try {
    text = await readFile(markerPath(path), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(`read ${markerPath(path)}`, cause);
  }
  try {
    const marker = JSON.parse(text) as Marker;
    const counts = [marker.bytes, marker.rows, marker.ok, marker.failed];
    if (counts.every(count => Number.isInteger(count) && count >= 0)) return marker;
  } catch {
    // Said below.
  }
  throw new RepVGGError(
    'ERR_RESUME',
    `Cannot read ${markerPath(path)}: it is not what a run leaves; remove it to begin again.`,
  );
}

function compareSettings(path: string, before: Record<string, unknown>, now: Record<string, unknown>): void {
  for (const name of Object.keys({...before, ...now})) {
    const [was, is] = [JSON.stringify(before[name]), JSON.stringify(now[name])];
    if (was === is) continue;
    const problem = `its rows were made with ${name} ${was} and not ${is}`;
    throw new RepVGGError('ERR_RESUME', `Cannot resume ${path}: ${problem}.`);
  }
}

/** Removes what was written after the marker: it may end in the middle of a row. */
async function cutOff(file: FileHandle, path: string, bytes: number): Promise<void> {
  const {size} = await file.stat();
  if (size < bytes) {
    const problem = `${path}.partial has ${size} bytes, of the ${bytes} that were written`;
    throw new RepVGGError(
      'ERR_RESUME',
      `Cannot resume ${path}: ${problem}; remove ${markerPath(path)} to begin again.`,
    );
  }
  await file.truncate(bytes);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
