import {existsSync, mkdirSync, statSync} from 'node:fs';
import path from 'node:path';

/**
 * Creates a folder and its missing parents, unless it exists. Not by mkdir's `recursive`, which never returns in a folder that
 * exists but refuses new entries with ENOENT, as /proc does: it goes up to create the parent, and comes back.
 */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    const {code} = error as NodeJS.ErrnoException;
    const parent = path.dirname(folder);
    if (code === 'ENOENT' && parent !== folder && !existsSync(parent)) {
      makeFolder(parent);
      makeFolder(folder);
    } else if (!statSync(folder, {throwIfNoEntry: false})?.isDirectory()) {
      throw error;
    }
  }
}
