import type {Dirent, Stats} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {fileError, type RepVGGError} from '../errors.ts';

/** A file below a folder, or a folder that cannot be read. */
export type Found = {path: string; names: readonly string[]} | {path: string; error: RepVGGError};

export interface WalkOptions {
  /** Of the folders above, which the names of what is found begin with. */
  names?: readonly string[];
  /** Whether a folder is looked into, by its own name and those above. Default: all are. */
  mayEnter?: (names: readonly string[]) => boolean;
  signal?: AbortSignal | undefined;
}

/**
 * The files in a folder and those below it, in the order of their names. Symbolic links are followed, but not to a folder
 * that they are in.
 *
 * @param above the folders that this one is in, and of which it may not be one again
 * @throws {RepVGGError} where the first folder cannot be read and has no names above
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
  // By code unit, whatever the locale, so that a run can be resumed on another machine.
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

/** A link that leads nowhere counts as a file: reading it says what is wrong. */
async function kindOfTarget(link: string): Promise<Stats | 'nothing'> {
  try {
    return await stat(link);
  } catch {
    return 'nothing';
  }
}
