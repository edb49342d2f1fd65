import type {Dirent, Stats} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {fileError, type RepVGGError} from '../errors.ts';

/** A file below a folder, or a subfolder that cannot be read. */
export type Found = {path: string; names: readonly string[]} | {path: string; error: RepVGGError};

export interface WalkOptions {
  /** Names of parent folders, put in front of the names of what is found. */
  names?: readonly string[];
  /** Whether to descend into a folder, given its name after those of its parents. Default: always. */
  mayEnter?: (names: readonly string[]) => boolean;
  signal?: AbortSignal | undefined;
}

/**
 * The files in a folder and its subfolders, sorted by name. Symbolic links are followed unless they lead back to a folder that contains
 * them.
 *
 * @param above identities of the folders that contain this one, to detect such cycles
 * @throws {RepVGGError} if the first folder cannot be read, unless `names` is given
 */
export async function* walk(
  folder: string,
  {names = [], mayEnter = () => true, signal}: WalkOptions = {},
  above: readonly string[] = [],
): AsyncGenerator<Found> {
  signal?.throwIfAborted();
  let entries: Dirent[];
  let identity: string;
  try {
    const {dev, ino} = await stat(folder, {bigint: true});
    identity = `${dev}:${ino}`;
    if (above.includes(identity)) return;
    entries = await readdir(folder, {withFileTypes: true});
  } catch (cause) {
    const error = fileError(`read folder ${folder}`, cause);
    if (names.length === 0) throw error;
    yield {path: folder, error};
    return;
  }
  // By code unit, independent of the locale, so that a run can be resumed on another machine.
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const below = [...names, entry.name];
    const kind = entry.isSymbolicLink() ? await kindOfTarget(path) : entry;
    if (kind === 'nothing' || kind.isFile()) yield {path, names: below};
    else if (kind.isDirectory() && mayEnter(below))
      yield* walk(path, {names: below, mayEnter, signal}, [...above, identity]);
  }
}

/** A broken link counts as a file, so that reading it reports the error. */
async function kindOfTarget(link: string): Promise<Stats | 'nothing'> {
  try {
    return await stat(link);
  } catch {
    return 'nothing';
  }
}
