import {type FileHandle, open, stat} from 'node:fs/promises';

/** A file open for reading, closed by `await using`. */
export interface OpenFile extends AsyncDisposable {
  handle: FileHandle;
  size: number;
  /** Modification time in nanoseconds. */
  modified: bigint;
}

/** Opens a regular file. Throws Node's errors, or one that says what is there instead of a file. */
export async function openRegularFile(path: string): Promise<OpenFile> {
  // Checked first, since opening a named pipe would wait for a writer.
  const stats = await stat(path);
  if (stats.isDirectory()) throw Object.assign(new Error(), {code: 'EISDIR'});
  if (!stats.isFile()) throw new Error('it is not a regular file');
  const handle = await open(path, 'r');
  try {
    // Not from the stat above: the file at the path may have been replaced since.
    const {size, mtimeNs} = await handle.stat({bigint: true});
    return {handle, size: Number(size), modified: mtimeNs, [Symbol.asyncDispose]: () => handle.close()};
  } catch (error) {
    await handle.close();
    throw error;
  }
}
