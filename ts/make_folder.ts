import {existsSync, mkdirSync, statSync} from 'node:fs';
import path from 'node:path';

/**
 * Makes a folder and those above it that are missing; one that is there is left as it is. Not by mkdir's `recursive`, which
 * never returns where a folder may be there and yet take no other, as in /proc: it sees ENOENT, goes up, and comes back.
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
