import {createReadStream} from 'node:fs';
import {constants, type FileHandle, open, rename, rm, stat} from 'node:fs/promises';
import {RepVGGError} from '../errors.ts';
import {native} from '../native/addon.ts';
import {checkReplaceable, fileWriteError, removeTemporaries} from '../support/replace_file.ts';
import {
  cannotResume,
  compareSettings,
  type Marker,
  markerPath,
  type Progress,
  type RunSettings,
  readMarker,
  writeMarker,
} from './marker.ts';

const none = {bytes: 0, ok: 0, failed: 0, rows: 0, idDigest: '', complete: false};

/**
 * The rows of an unfinished output file, in FILE.partial, with a marker in FILE.partial.json that says how many of its bytes are
 * committed. A killed run leaves both behind for the next run to resume.
 */
export class Journal implements AsyncDisposable {
  readonly path: string;
  /** As last written or, before that, as found. */
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
   * @param resume continues an unfinished run, if there is one; otherwise that is an error, so that no work is lost by accident
   * @throws {RepVGGError} ERR_RESUME; ERR_FILE_WRITE, also if another run is writing the file
   */
  static async open(output: string, settings: RunSettings, resume: boolean): Promise<Journal | 'complete'> {
    const {target: path, mode} = await checkReplaceable(output);
    for (;;) {
      const isBegun = await exists(partialPath(path));
      const before = await findRun(path, settings, resume, isBegun).catch(async error => {
        // To resume or remove a run that is still going on would be bad advice: openAlone() then says so instead.
        if (isBegun) await (await openAlone(path, true))?.close();
        throw error;
      });
      if (before === 'complete') return before;
      const file = await openAlone(path, before !== undefined);
      if (!file) continue; // Another run has just finished.
      try {
        const found = await findRun(path, settings, resume, isBegun); // Again, now that the lock is held.
        if (found !== 'complete') {
          const marker = found ?? {settings, ...none};
          await cutOff(file, path, marker.bytes);
          if (mode !== undefined) await file.chmod(mode); // That of the output it will replace.
          await removeTemporaries(path);
          await removeTemporaries(markerPath(path));
          return new Journal(path, marker, file);
        }
        if (!isBegun) await rm(partialPath(path)); // openAlone() has created it.
        await file.close();
        return found;
      } catch (error) {
        await file.close();
        throw fileWriteError(partialPath(path), error);
      }
    }
  }

  /** Appends lines; they are safe only after {@link commit}. */
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

  /** Makes everything appended durable, even if the process or machine crashes. */
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

  /** The committed lines. */
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

  /** Renames the journal to the output. */
  async become(): Promise<void> {
    try {
      await rename(partialPath(this.path), this.path);
    } catch (cause) {
      throw fileWriteError(this.path, cause);
    }
    await rm(markerPath(this.path), {force: true});
  }

  /** Removes the journal. The marker goes last: a complete marker without a journal means that the output exists. */
  async remove(): Promise<void> {
    await rm(partialPath(this.path), {force: true});
    await rm(markerPath(this.path), {force: true});
  }

  /**
   * Ends a run that has saved nothing. It leaves nothing either, but beside an older output an empty journal: without that, a run that
   * resumes this one would take the older output for complete.
   */
  async abandon(): Promise<void> {
    if (!(await exists(this.path))) return this.remove();
    await this.#file.truncate();
    await rm(markerPath(this.path), {force: true});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

export const partialPath = (path: string): string => `${path}.partial`;

/**
 * Looks for an unfinished run and checks that it may be resumed.
 *
 * @param isBegun whether there is a journal: one without a marker is from a run that saved nothing, and an existing output is older
 */
async function findRun(
  path: string,
  settings: RunSettings,
  resume: boolean,
  isBegun: boolean,
): Promise<Marker | 'complete' | undefined> {
  const found = await readMarker(path);
  if (!found || found.rows + Number(found.complete) === 0) {
    return resume && !isBegun && (await exists(path)) ? 'complete' : undefined;
  }
  const isThere = await exists(partialPath(path));
  if (found.complete && !isThere) {
    await rm(markerPath(path), {force: true}); // The run was killed just after the output had appeared.
    return resume && (await exists(path)) ? 'complete' : undefined;
  }
  if (!resume) {
    const problem = `${partialPath(path)} has ${found.rows} rows of an unfinished run`;
    throw new RepVGGError(
      'ERR_RESUME',
      `Cannot write ${path}: ${problem}; resume it, or remove ${markerPath(path)} to start over.`,
    );
  }
  compareSettings(path, found.settings, settings);
  if (isThere) return found;
  throw cannotResume(path, `${partialPath(path)} is missing`);
}

/** Opens and locks the journal; undefined if another run has removed or renamed it meanwhile. */
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

/** Removes uncommitted bytes, which may end in the middle of a row. */
async function cutOff(file: FileHandle, path: string, bytes: number): Promise<void> {
  const {size} = await file.stat();
  if (size < bytes) {
    throw cannotResume(path, `${partialPath(path)} has only ${size} of the ${bytes} bytes that were written`);
  }
  await file.truncate(bytes);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
