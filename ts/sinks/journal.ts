import {createReadStream} from 'node:fs';
import {constants, type FileHandle, open, rename, rm, stat} from 'node:fs/promises';
import {RepVGGError} from '../errors.ts';
import {native} from '../native.ts';
import {checkReplaceable, fileWriteError, removeTemporaries} from '../replace_file.ts';
import {
  cannotResume,
  compareSettings,
  type Marker,
  markerPath,
  type Progress,
  readMarker,
  writeMarker,
} from './marker.ts';

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
   * @throws {RepVGGError} ERR_RESUME, ERR_FILE_WRITE, also where another run is writing the file
   */
  static async open(
    output: string,
    settings: Record<string, unknown>,
    resume: boolean,
  ): Promise<Journal | 'complete'> {
    const {target: path, mode} = await checkReplaceable(output);
    for (;;) {
      const isBegun = await exists(partialPath(path));
      const before = await findRun(path, settings, resume, isBegun);
      if (before === 'complete') return before;
      const file = await openAlone(path, before !== undefined);
      if (!file) continue; // Another run was about to end.
      try {
        const found = await findRun(path, settings, resume, isBegun); // Nobody else changes it any more.
        if (found !== 'complete') {
          const marker = found ?? {settings, ...none};
          await cutOff(file, path, marker.bytes);
          if (mode !== undefined) await file.chmod(mode); // Of the output that it is to take the place of.
          await removeTemporaries(path);
          await removeTemporaries(markerPath(path));
          return new Journal(path, marker, file);
        }
        if (!isBegun) await rm(partialPath(path)); // Made just now.
        await file.close();
        return found;
      } catch (error) {
        await file.close();
        throw fileWriteError(partialPath(path), error);
      }
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
      throw fileWriteError(partialPath(this.path), cause);
    }
  }

  /** Makes all that was added count, whatever happens to the process or the machine. */
  async commit(progress: Progress, complete = false): Promise<void> {
    try {
      await this.#file.datasync();
    } catch (cause) {
      throw fileWriteError(partialPath(this.path), cause);
    }
    const marker = {...this.marker, ...progress, complete, bytes: this.#bytes};
    await writeMarker(this.path, marker);
    this.marker = marker;
  }

  /** Its lines, as they were committed. */
  async *lines(): AsyncGenerator<string> {
    if (this.marker.bytes === 0) return;
    let rest = '';
    const stream = createReadStream(partialPath(this.path), {end: this.marker.bytes - 1, encoding: 'utf8'});
    for await (const chunk of stream as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      yield* lines;
    }
  }

  /** Takes the place of the output: its lines are what that should be. */
  async become(): Promise<void> {
    try {
      await rename(partialPath(this.path), this.path);
    } catch (cause) {
      throw fileWriteError(this.path, cause);
    }
    await rm(markerPath(this.path), {force: true});
  }

  /** Removes it. The marker goes last: a complete one without a journal says that the output is there. */
  async remove(): Promise<void> {
    await rm(partialPath(this.path), {force: true});
    await rm(markerPath(this.path), {force: true});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

const partialPath = (path: string): string => `${path}.partial`;

/**
 * What there is to go on with, if there is anything and it may be gone on with.
 *
 * @param isBegun there is a journal: without a marker it is of a run that saved nothing, and the output is an older one
 */
async function findRun(
  path: string,
  settings: Record<string, unknown>,
  resume: boolean,
  isBegun: boolean,
): Promise<Marker | 'complete' | undefined> {
  const found = await readMarker(path);
  if (!found || found.rows + Number(found.complete) === 0) {
    return resume && !isBegun && (await exists(path)) ? 'complete' : undefined;
  }
  const isThere = await exists(partialPath(path));
  if (found.complete && !isThere) {
    await rm(markerPath(path), {force: true}); // Killed just after the output took its place.
    return resume && (await exists(path)) ? 'complete' : undefined;
  }
  if (!resume) {
    const problem = `${partialPath(path)} has ${found.rows} rows of a run that did not finish`;
    throw new RepVGGError(
      'ERR_RESUME',
      `Cannot write ${path}: ${problem}; resume it, or remove ${markerPath(path)} to begin again.`,
    );
  }
  compareSettings(path, found.settings, settings);
  if (isThere) return found;
  throw cannotResume(path, `${partialPath(path)} is missing`);
}

/** The journal, which nobody else writes while it is open; undefined if it was taken away meanwhile. */
async function openAlone(path: string, isThere: boolean): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    file = await open(partialPath(path), constants.O_RDWR | (isThere ? 0 : constants.O_CREAT));
  } catch (cause) {
    if (isThere && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileWriteError(partialPath(path), cause);
  }
  if (!native().lockFile(file.fd)) {
    await file.close();
    throw new RepVGGError('ERR_FILE_WRITE', `Cannot write ${path}: another run is writing it.`);
  }
  const [opened, named] = await Promise.all([file.stat(), stat(partialPath(path)).catch(() => undefined)]);
  if (opened.ino === named?.ino && opened.dev === named.dev) return file;
  await file.close();
  return undefined;
}

/** Removes what was written after the marker: it may end in the middle of a row. */
async function cutOff(file: FileHandle, path: string, bytes: number): Promise<void> {
  const {size} = await file.stat();
  if (size < bytes) {
    throw cannotResume(path, `${partialPath(path)} has ${size} bytes, of the ${bytes} that were written`);
  }
  await file.truncate(bytes);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
