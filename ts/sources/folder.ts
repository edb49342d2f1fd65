import type {Dirent, Stats} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join, normalize, resolve} from 'node:path';
import picomatch from 'picomatch';
import {fileError, RepVGGError} from '../errors.ts';
import type {SourceFile, SourceRecord, UnreadableRecord} from './source.ts';
import {checkFields} from './table.ts';

export function isImageName(name: string): boolean {
  return /\.(jpe?g|jpe|jfif|png|webp|avif|tiff?|gif)$/i.test(name);
}

export function isGlob(path: string): boolean {
  return picomatch.scan(path).isGlob;
}

/** Whether a glob matches a path, wherever both are seen from. */
export function matchesGlob(pattern: string, path: string): boolean {
  return picomatch(resolve(pattern))(resolve(path));
}

/**
 * The images in a folder and those below it, in the order of their names, hidden ones among them. An image below the folder
 * is labelled with the name of the folder's own subfolder that it is in, as torchvision's ImageFolder does. Symbolic links are
 * followed, but not to a folder that they are in.
 */
export async function* findImages(file: SourceFile): AsyncGenerator<SourceRecord | UnreadableRecord> {
  const {path, signal} = file;
  checkFields(file, 'a folder', ['label']);
  let none = true;
  for await (const record of imagesBelow(path, [], signal)) {
    if (!('error' in record)) none = false;
    yield record;
  }
  if (none) throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: there are no images in it.`);
}

/**
 * The images of a folder, which may have none.
 *
 * @param above names of the folders above, where the label is the first of them
 */
export async function* imagesBelow(
  folder: string,
  above: string[],
  signal?: AbortSignal,
): AsyncGenerator<SourceRecord | UnreadableRecord> {
  for await (const found of walk(folder, signal, above)) {
    if ('error' in found) yield {id: found.path, error: found.error};
    else if (isImageName(found.path)) {
      const {names} = found;
      yield {id: found.path, image: found.path, ...(names.length > 1 && {label: names[0]!})};
    }
  }
}

/** The files that a glob matches, in the order of their names. Names that begin with a dot match only a pattern that has it. */
export async function* matchFiles(pattern: string, signal?: AbortSignal): AsyncGenerator<string> {
  const base = picomatch.scan(pattern).base.replace(/\\(.)/g, '$1'); // A folder, in which nothing is escaped.
  const matches = picomatch(normalize(pattern));
  let none = true;
  for await (const found of walk(base || '.', signal)) {
    if (!matches(normalize(found.path))) continue;
    if ('error' in found) throw found.error;
    none = false;
    yield found.path;
  }
  if (none)
    throw new RepVGGError(
      'ERR_FILE_NOT_FOUND',
      `Cannot read source ${pattern}: no file matches it (folders do not count: FOLDER/** has their files).`,
    );
}

type Found = {path: string; names: string[]} | {path: string; error: RepVGGError};

/** @param above the folders that this one is in, and of which it may not be one again */
async function* walk(
  folder: string,
  signal?: AbortSignal,
  names: string[] = [],
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
    else if (kind.isDirectory()) yield* walk(path, signal, below, [...above, identity]);
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
