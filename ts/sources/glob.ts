import {normalize, resolve, sep} from 'node:path';
import picomatch from 'picomatch';
import {RepVGGError} from '../errors.ts';
import {type Found, walk} from './walk.ts';

export function isGlob(path: string): boolean {
  return scan(path).isGlob;
}

/** Whether a glob matches a path, wherever both are seen from. */
export function matchesGlob(pattern: string, path: string): boolean {
  return picomatch(resolve(pattern))(resolve(path));
}

/** The files that a glob matches, in the order of their names. Names that begin with a dot match only a pattern that has it. */
export async function* matchFiles(pattern: string, signal?: AbortSignal): AsyncGenerator<Found> {
  const {prefix, base} = scan(pattern);
  const end = prefix.length + base.length;
  // A folder, in which nothing is escaped.
  const folder = pattern.slice(prefix.length, end).replace(/\\(.)/g, '$1');
  const mayEnter = folderFilter(pattern.slice(end).replace(/^\/+/, ''));
  const matches = picomatch(normalize(pattern));
  let none = true;
  for await (const found of walk(folder || '.', {mayEnter, signal})) {
    if (!('error' in found) && !matches(normalize(found.path))) continue;
    none = false;
    yield found;
  }
  if (none)
    throw new RepVGGError(
      'ERR_FILE_NOT_FOUND',
      `Cannot read source ${pattern}: no file matches it (folders do not count: FOLDER/** has their files).`,
    );
}

/** Tells of a folder's path whether it may have something that a glob matches: "*.jpg" is not looked for further below. */
function folderFilter(glob: string): (names: readonly string[]) => boolean {
  const segments = normalize(glob).split(sep);
  // From such a segment on, the folders of the pattern are not those of a path one by one.
  const open = segments.findIndex(segment => /\*\*|[({!]/.test(segment));
  const matchers = segments.slice(0, open).map(segment => picomatch(segment)); // -1 is the file itself.
  return names => {
    if (open < 0 && names.length > matchers.length) return false;
    return names.every((name, i) => matchers[i]?.(name) ?? true);
  };
}

/** picomatch's scan() sees nothing behind "\{" or "{1}", so what is escaped is hidden from it, and it has to go on to the end. */
function scan(pattern: string): ReturnType<typeof picomatch.scan> {
  return picomatch.scan(pattern.replace(/\\./g, '__'), {scanToEnd: true});
}
