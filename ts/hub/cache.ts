import {randomUUID} from 'node:crypto';
import {readdir, readFile, readlink, rename, rm, stat, symlink, writeFile} from 'node:fs/promises';
import {dirname, join, relative} from 'node:path';
import {makeFolder} from '../support/make_folder.ts';

/**
 * A model's folder in the cache shared by all hub clients, in the layout that huggingface_hub documents: `blobs` has files
 * named by their checksums, `snapshots/COMMIT` has links to them with the files' names, `refs/REVISION` has the commit of a
 * branch or tag, and `.no_exist/COMMIT` has empty files with the names of those that the commit lacks.
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

  /** Records that a commit has no such file. */
  async markMissing(commit: string, file: string): Promise<void> {
    makeFolder(dirname(this.#absence(commit, file)));
    await writeFile(this.#absence(commit, file), '');
  }

  /** Whether a commit's file is cached, or known not to exist. */
  async isKnown(commit: string, file: string): Promise<boolean> {
    return (await isFile(this.snapshot(commit, file))) || isFile(this.#absence(commit, file));
  }

  #absence(commit: string, file: string): string {
    return join(this.#folder, '.no_exist', commit, file);
  }

  /** The commit of a revision when it was last fetched; a commit is returned as it is. */
  async commit(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const ref = join(this.#folder, 'refs', revision);
    return readFile(ref, 'utf8').then(
      text => text.trim(),
      () => null,
    );
  }

  /** The names of a commit's cached files, except those in subfolders. */
  async files(commit: string): Promise<string[]> {
    return readdir(join(this.#folder, 'snapshots', commit)).catch(() => []);
  }

  /** Links a commit's file to its blob, and records the commit of a revision. */
  async link(revision: string, commit: string, file: string, checksum: string): Promise<void> {
    const pointer = this.snapshot(commit, file);
    const target = relative(dirname(pointer), this.blob(checksum));
    makeFolder(dirname(pointer));
    if ((await readlink(pointer).catch(() => null)) !== target) {
      await rm(pointer, {force: true});
      await symlink(target, pointer).catch(ignoreExisting);
    }
    // Written only where it changes: the cache may be read-only, as in a container's image.
    if ((await this.commit(revision)) === commit) return;
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

/** Another process may have created it at the same time. */
function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}
