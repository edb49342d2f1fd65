import {randomUUID} from 'node:crypto';
import {readdir, readFile, readlink, rename, rm, stat, symlink, writeFile} from 'node:fs/promises';
import {dirname, join, relative} from 'node:path';
import {makeFolder} from '../make_folder.ts';

/**
 * A model's folder in the cache that all clients of the hub share, laid out as huggingface_hub documents it: `blobs` has
 * the files by their checksums, `snapshots/COMMIT` links to them by their names, `refs/REVISION` says which commit a
 * branch or tag is.
 */
export class HubCache {
  readonly #folder: string;

  constructor(cache: string, model: string) {
    this.#folder = join(cache, `models--${model.replaceAll('/', '--')}`);
  }

  blob(checksum: string): string {
    return join(this.#folder, 'blobs', checksum);
  }

  snapshot(commit: string, file: string): string {
    return join(this.#folder, 'snapshots', commit, file);
  }

  /** The commit that a revision was when it was last fetched; a commit is itself. */
  async commit(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const ref = join(this.#folder, 'refs', revision);
    return readFile(ref, 'utf8').then(
      text => text.trim(),
      () => null,
    );
  }

  /** The names of a commit's files that are there, those in folders left out. */
  async files(commit: string): Promise<string[]> {
    return readdir(join(this.#folder, 'snapshots', commit)).catch(() => []);
  }

  /** Gives a blob its name in a commit, and a revision its commit. */
  async link(revision: string, commit: string, file: string, checksum: string): Promise<void> {
    const pointer = this.snapshot(commit, file);
    const target = relative(dirname(pointer), this.blob(checksum));
    makeFolder(dirname(pointer));
    if ((await readlink(pointer).catch(() => null)) !== target) {
      await rm(pointer, {force: true});
      await symlink(target, pointer).catch(ignoreExisting);
    }
    if (isCommit(revision)) return;
    const ref = join(this.#folder, 'refs', revision);
    makeFolder(dirname(ref));
    const temporary = `${ref}.${randomUUID()}`;
    await writeFile(temporary, commit);
    await rename(temporary, ref);
  }
}

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    stats => stats.isFile(),
    () => false,
  );
}

/** Another process was as fast. */
function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}
