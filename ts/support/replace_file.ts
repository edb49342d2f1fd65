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
import {invalidArgument, RepVGGError} from '../errors.ts';

/**
 * Replaces a file atomically: the new file appears at its path only when it is complete and on disk; until then, and after an
 * error, an existing file stays as it was. Only regular files are replaced. The mode is kept, and symbolic links are followed.
 *
 * @param write fills the new, empty file
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for an empty path, ERR_FILE_WRITE, or a RepVGGError of `write`; the reason of
 *   `signal` once it is aborted
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
 * Fails early where {@link replaceFile} would fail, before long work whose result is to be written.
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

/** Leaves room for a prefix and suffix: file systems allow names of 255 bytes. */
const mostNameBytes = 200;

/** The prefix of a target's temporary files: its name, or a hash if that is too long. */
function temporaryPrefix(target: string): string {
  const name = basename(target);
  if (Buffer.byteLength(name) <= mostNameBytes) return `.${name}.`;
  return `.${createHash('sha256').update(name).digest('hex')}.`;
}

const temporarySuffix = '.tmp';

/** Removes temporary files that {@link replaceFile} left when a process was killed. Nobody else may be writing the file. */
export async function removeTemporaries(path: string): Promise<void> {
  const prefix = temporaryPrefix(path);
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix) || !name.endsWith(temporarySuffix)) continue;
    const id = name.slice(prefix.length, -temporarySuffix.length);
    if (/^[0-9a-f-]{36}$/.test(id)) await rm(join(dirname(path), name), {force: true});
  }
}

/** Converts an error of writing a file; a RepVGGError is returned as it is. */
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

/** The target of a path, with symbolic links resolved, and the mode of an existing file. */
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

/** Writes all bytes at the current position. */
export async function append(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const {bytesWritten} = await file.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}

/** Characters that {@link appendTexts} gathers for a write. */
const gatheredLength = 2 ** 16;

/** Writes texts at the current position. One text of all of them could exceed the length of a string. */
export async function appendTexts(
  file: FileHandle,
  texts: Iterable<string> | AsyncIterable<string>,
): Promise<void> {
  let gathered = '';
  for await (const text of texts) {
    gathered += text;
    if (gathered.length < gatheredLength) continue;
    await append(file, Buffer.from(gathered));
    gathered = '';
  }
  await append(file, Buffer.from(gathered));
}
