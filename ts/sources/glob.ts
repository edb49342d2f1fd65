import {normalize, resolve, sep} from 'node:path';
import picomatch from 'picomatch';
import {RepVGGError} from '../errors.ts';
import {type Found, walk} from './walk.ts';

export function isGlob(path: string): boolean {
  return scan(path).isGlob;
}

/** Whether a glob matches a path. Either may be relative. */
export function matchesGlob(pattern: string, path: string): boolean {
  return picomatch(resolve(pattern))(resolve(path));
}

/** The files that a glob matches, sorted by name. A name that begins with a dot matches only if the pattern has the dot too. */
export async function* matchFiles(pattern: string, signal?: AbortSignal): AsyncGenerator<Found> {
  const {prefix, base} = scan(pattern);
  const end = prefix.length + base.length;
  // picomatch leaves the backslashes in.
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
      `Cannot read source ${pattern}: no file matches it (folders do not match; use FOLDER/** for the files in them).`,
    );
}

/** Decides by a folder's path whether it can contain matches: "*.jpg" needs no subfolders. */
function folderFilter(glob: string): (names: readonly string[]) => boolean {
  const segments = normalize(glob).split(sep);
  // From the first such segment on, segments of pattern and path do not correspond one to one.
  const open = segments.findIndex(segment => /\*\*|[({!]/.test(segment));
  const matchers = segments.slice(0, open).map(segment => picomatch(segment)); // With -1, all but the file name.
  return names => {
    if (open < 0 && names.length > matchers.length) return false;
    return names.every((name, i) => matchers[i]?.(name) ?? true);
  };
}

/** picomatch's scan() stops at "\{" and "{1}", so escaped characters are masked and it is told to scan to the end. */
function scan(pattern: string): ReturnType<typeof picomatch.scan> {
  return picomatch.scan(pattern.replace(/\\./g, '__'), {scanToEnd: true});
}
