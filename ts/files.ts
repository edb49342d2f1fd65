import {type FileHandle, open, stat} from 'node:fs/promises';

/** A file opened for reading; closed where its `await using` ends. */
export interface OpenFile extends AsyncDisposable {
  handle: FileHandle;
  size: number;
  /** When it was written last, in nanoseconds. */
  modified: bigint;
}

/** Opens what can be read to an end. Errors are Node's, or tell in words what is there instead of a file. */
export async function openRegularFile(path: string): Promise<OpenFile> {
  // Before opening: opening a named pipe would wait for a writer.
  const stats = await stat(path);
  if (stats.isDirectory()) throw Object.assign(new Error(), {code: 'EISDIR'});
  if (!stats.isFile()) throw new Error('it is not a regular file');
  const handle = await open(path, 'r');
  try {
    // Of what was opened: another file may have come to be at the path.
    const {size, mtimeNs} = await handle.stat({bigint: true});
    return {handle, size: Number(size), modified: mtimeNs, [Symbol.asyncDispose]: () => handle.close()};
  } catch (error) {
    await handle.close();
    throw error;
  }
}
