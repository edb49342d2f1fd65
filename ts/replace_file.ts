import {createHash, randomUUID} from 'node:crypto';
import {
  access,
  constants,
  type FileHandle,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {invalidArgument, RepVGGError} from './errors.ts';

/**
 * Writes a file that appears under its name only when it is complete and on the disk; until then, and after an error,
 * whatever was there before stays. It takes the place of a regular file alone, keeps its mode, and is written where a
 * symbolic link leads to.
 *
 * @param write fills the new file, which is empty
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for an empty path, ERR_FILE_WRITE, or whatever `write` throws with a code of
 *   this package; the reason of `signal` once it is aborted
 */
export async function replaceFile(
  path: string,
  write: (file: FileHandle) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  if (typeof path !== 'string' || path === '')
    throw invalidArgument('path', 'the path of a file to write', path);
  let temporary: string | undefined;
  try {
    const {target, mode} = await destination(path);
    temporary = join(dirname(target), `${temporaryPrefix(target)}${randomUUID()}${temporarySuffix}`);
    const file = await open(temporary, 'wx');
    try {
      if (mode !== undefined) await file.chmod(mode);
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, target);
  } catch (error) {
    // The first error is the one to report, even where the temporary file cannot be removed either.
    if (temporary !== undefined) await rm(temporary, {force: true}).catch(() => undefined);
    signal?.throwIfAborted();
    throw fileWriteError(path, error);
  }
}

/**
 * Fails where {@link replaceFile} would from the start. It is for what takes long before it has something to write.
 *
 * @throws {RepVGGError} ERR_FILE_WRITE
 */
export async function checkReplaceable(path: string): Promise<Destination> {
  try {
    const found = await destination(path);
    await access(dirname(found.target), constants.W_OK);
    return found;
  } catch (error) {
    throw fileWriteError(path, error);
  }
}

/** Bytes of a name that leave room for what is put around it: file systems allow 255. */
const mostNameBytes = 200;

/** A longer name is told by its hash, so that no two files share one. */
function temporaryPrefix(target: string): string {
  const name = basename(target);
  if (Buffer.byteLength(name) <= mostNameBytes) return `.${name}.`;
  return `.${createHash('sha256').update(name).digest('hex')}.`;
}

const temporarySuffix = '.tmp';

/** Removes what {@link replaceFile} leaves of a file where the process is killed. Nobody else may be writing the file. */
export async function removeTemporaries(path: string): Promise<void> {
  const prefix = temporaryPrefix(path);
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix) || !name.endsWith(temporarySuffix)) continue;
    const id = name.slice(prefix.length, -temporarySuffix.length);
    if (/^[0-9a-f-]{36}$/.test(id)) await rm(join(dirname(path), name), {force: true});
  }
}

/** The error of a file that cannot be written. One that has a code of this package already stays as it is. */
export function fileWriteError(path: string, error: unknown): RepVGGError {
  if (error instanceof RepVGGError) return error;
  const {code, message} = error as NodeJS.ErrnoException;
  const problems: Record<string, string> = {
    ENOENT: `there is no folder ${dirname(path)}`,
    ENOTDIR: `${dirname(path)} is no folder`,
    EACCES: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota of this disk is used up',
    ENAMETOOLONG: 'its name is longer than this file system allows',
    EFBIG: 'it would be larger than this process or file system allows',
  };
  const problem = problems[code ?? ''] ?? message;
  return new RepVGGError('ERR_FILE_WRITE', `Cannot write ${path}: ${problem}.`, {cause: error});
}

/** Where a file goes, beyond a symbolic link, and the mode of the one whose place it takes. */
export interface Destination {
  target: string;
  mode?: number;
}

async function destination(path: string): Promise<Destination> {
  const link = await readlink(path).catch(() => undefined);
  let target = path;
  try {
    if (link !== undefined) target = await realpath(path);
    const stats = await stat(target);
    if (stats.isDirectory()) throw new Error('it is a directory');
    if (!stats.isFile()) throw new Error('it is not a regular file');
    await access(target, constants.W_OK);
    return {target, mode: stats.mode & 0o7777};
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if (link !== undefined) throw new Error(`it is a link to ${link}, which does not exist`);
    return {target: path};
  }
}

/** Writes all of some bytes at the end of what was written before. */
export async function append(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const {bytesWritten} = await file.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}
