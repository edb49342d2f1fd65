import {createHash} from 'node:crypto';
import {createReadStream} from 'node:fs';
import {constants, open, rename, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import {makeFolder} from '../support/make_folder.ts';
import {isFile} from './cache.ts';

/** A file of a hub repository. */
export interface RemoteBlob {
  file: string;
  url: string;
  checksum: string;
  bytes: number;
}

interface Download {
  token: string | undefined;
  onProgress(received: number): void;
  signal: AbortSignal | undefined;
}

/**
 * Downloads a file, or resumes its download, and renames it once its checksum is verified. Uses plain HTTP rather than xet,
 * since it can resume at any byte and mirrors support nothing else. If an earlier download left wrong bytes, the file is
 * downloaded once more from the beginning.
 *
 * @returns the number of bytes received
 */
export async function downloadBlob(blob: RemoteBlob, path: string, how: Download): Promise<number> {
  const incomplete = `${path}.incomplete`;
  let {came, wasResumed} = await download(blob, incomplete, how);
  if (wasResumed && !(await isIntact(incomplete, blob, how)) && !(await isFile(path))) {
    await rm(incomplete, {force: true});
    came += (await download(blob, incomplete, how)).came;
  }
  await complete(blob, incomplete, path, how);
  return came;
}

/**
 * Downloads the missing part of a file. Writes are positional, so that processes that download the same file concurrently
 * write the same bytes.
 */
async function download(
  {url, bytes, file: name}: RemoteBlob,
  path: string,
  {token, onProgress, signal}: Download,
): Promise<{came: number; wasResumed: boolean}> {
  makeFolder(dirname(path));
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  try {
    const {size} = await file.stat();
    const there = size > bytes ? 0 : size;
    if (size > there) await file.truncate(there);
    onProgress(there);
    if (there === bytes) return {came: 0, wasResumed: there > 0};
    const response = await fetch(url, {
      signal: signal ?? null,
      headers: {
        ...(token && {authorization: `Bearer ${token}`}),
        ...(there > 0 && {range: `bytes=${there}-${bytes - 1}`}),
      },
    });
    if (!response.ok || !response.body) {
      const {status, body} = response;
      await body?.cancel(); // Otherwise the connection stays open.
      throw Object.assign(new Error(`${name} cannot be downloaded: HTTP ${status}`), {statusCode: status});
    }
    // A server that does not support ranges sends the whole file.
    const start = response.status === 206 ? there : 0;
    let position = start;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (position + chunk.length > bytes)
        throw new Error(`the server sent more than the ${bytes} bytes of ${name}`);
      for (let done = 0; done < chunk.length; ) {
        const {bytesWritten} = await file.write(chunk, done, chunk.length - done, position);
        done += bytesWritten;
        position += bytesWritten;
      }
      onProgress(position);
    }
    await file.sync();
    if (position < bytes) throw new Error(`the connection ended after ${position} of ${bytes} bytes`);
    return {came: position - start, wasResumed: start > 0};
  } finally {
    await file.close();
  }
}

/** Verifies and renames a download, unless another process has done so. */
async function complete(blob: RemoteBlob, incomplete: string, path: string, how: Download): Promise<void> {
  try {
    if (!(await isIntact(incomplete, blob, how))) {
      await rm(incomplete, {force: true});
      const problem = `the download of ${blob.file} does not have the checksum ${blob.checksum}`;
      throw new Error(`${problem}, so it was removed: try again`);
    }
    await rename(incomplete, path);
  } catch (error) {
    if (!(await isFile(path))) throw error;
  }
}

/**
 * Verifies a checksum: the SHA-256 of the bytes for a Git LFS file, else the SHA-1 of the Git blob. A file that another process
 * has meanwhile completed and renamed is not intact.
 */
async function isIntact(
  path: string,
  {checksum, bytes}: RemoteBlob,
  {signal}: Pick<Download, 'signal'>,
): Promise<boolean> {
  const isGit = checksum.length === 40;
  const hash = createHash(isGit ? 'sha1' : 'sha256');
  if (isGit) hash.update(`blob ${bytes}\0`);
  try {
    for await (const chunk of createReadStream(path, {signal})) hash.update(chunk as Buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  return hash.digest('hex') === checksum;
}
