import type {Dirent} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join, normalize} from 'node:path';
import picomatch from 'picomatch';
import {fileError, RepVGGError} from '../errors.ts';
import type {SourceFile, SourceRecord, UnreadableRecord} from './source.ts';

export function isImageName(name: string): boolean {
  return /\.(jpe?g|png|webp|avif|tiff?|gif)$/i.test(name);
}

export function isGlob(path: string): boolean {
  return picomatch.scan(path).isGlob;
}

/**
 * The images in a folder and those below it, in the order of their names. An image below the folder is labelled with the
 * name of the folder's own subfolder that it is in, as torchvision's ImageFolder does.
 */
export async function* findImages({
  path,
  signal,
}: SourceFile): AsyncGenerator<SourceRecord | UnreadableRecord> {
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
  const {base} = picomatch.scan(pattern);
  const matches = picomatch(normalize(pattern));
  let none = true;
  for await (const found of walk(base || '.', signal)) {
    if (!matches(normalize(found.path))) continue;
    if ('error' in found) throw found.error;
    none = false;
    yield found.path;
  }
  if (none) throw new RepVGGError('ERR_FILE_NOT_FOUND', `Cannot read source ${pattern}: no file matches it.`);
}

type Found = {path: string; names: string[]} | {path: string; error: RepVGGError};

async function* walk(folder: string, signal?: AbortSignal, names: string[] = []): AsyncGenerator<Found> {
  signal?.throwIfAborted();
  let entries: Dirent[];
  try {
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
    if (entry.isDirectory()) yield* walk(path, signal, below);
    // A link to a file counts as one; a link to a folder does not, since it may lead back to where it is.
    else if (entry.isFile() || (entry.isSymbolicLink() && (await leadsToFile(path)))) {
      yield {path, names: below};
    }
  }
}

/** A link that leads nowhere counts as a file too: reading it says what is wrong. */
async function leadsToFile(link: string): Promise<boolean> {
  try {
    return (await stat(link)).isFile();
  } catch {
    return true;
  }
}
