import {readFile} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import {append, fileWriteError, replaceFile} from '../support/replace_file.ts';

/** Those that the caller gives and those that every run has: apart, since a name may be in both. */
export type RunSettings = Readonly<Record<'given' | 'own', unknown>>;

/** The progress of an unfinished output, stored beside its journal. */
export interface Marker {
  /** What the rows depend on; a resumed run must have the same. */
  settings: RunSettings;
  /** Committed length of the journal. */
  bytes: number;
  ok: number;
  failed: number;
  /** Rows so far, which is also the number of records of the source that are done. */
  rows: number;
  /** Digest of the ids of these rows, in order. */
  idDigest: string;
  /** Whether all rows are in the journal. */
  complete: boolean;
}

/** Counts and digest of the rows so far. */
export type Progress = Omit<Marker, 'settings' | 'bytes' | 'complete'>;

export const markerPath = (path: string): string => `${path}.partial.json`;

/** Returns undefined if there is no marker. */
export async function readMarker(path: string): Promise<Marker | undefined> {
  let text: string;
  try {
    text = await readFile(markerPath(path), 'utf8');
  } catch (cause) {
    const {code} = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'ENAMETOOLONG') throw fileWriteError(markerPath(path), cause);
    throw fileError(`read ${markerPath(path)}`, cause);
  }
  try {
    const marker = JSON.parse(text) as Marker;
    const counts = [marker.bytes, marker.rows, marker.ok, marker.failed];
    const isWhole = typeof marker.settings === 'object' && marker.settings !== null;
    if (isWhole && counts.every(count => Number.isInteger(count) && count >= 0)) return marker;
  } catch {
    // Reported below.
  }
  throw new RepVGGError(
    'ERR_RESUME',
    `Cannot read ${markerPath(path)}: it is damaged; remove it to start over.`,
  );
}

/**
 * Rows made with different settings must not end up in one file.
 *
 * @throws {RepVGGError} ERR_RESUME with the first setting that differs, such as "preprocessing.crop"
 */
export function compareSettings(path: string, before: RunSettings, now: RunSettings): void {
  const [was, is] = [flatten(before), flatten(now)];
  for (const name of new Set([...was.keys(), ...is.keys()])) {
    if (was.get(name) === is.get(name)) continue;
    const shown = name.slice(name.indexOf('.') + 1); // Without "given." or "own.".
    const [old, own] = [was, is].map(all =>
      all.has(name) ? `with ${shown} ${all.get(name)}` : `without ${shown}`,
    );
    throw cannotResume(path, `it was started ${old}, not ${own}`);
  }
}

/** Settings by their paths, as JSON; those that are undefined are left out. */
function flatten(settings: object, prefix = ''): Map<string, string> {
  const entries = Object.entries(settings).flatMap(([key, value]): [string, string][] => {
    const name = prefix + key;
    if (value === undefined) return [];
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return [...flatten(value as object, `${name}.`)];
    return [[name, JSON.stringify(value)]];
  });
  return new Map(entries);
}

export async function writeMarker(path: string, marker: Marker): Promise<void> {
  const text = `${JSON.stringify(marker, null, 2)}\n`;
  await replaceFile(markerPath(path), file => append(file, Buffer.from(text)));
}

export function cannotResume(path: string, problem: string): RepVGGError {
  const message = `Cannot resume ${path}: ${problem}; remove ${markerPath(path)} to start over.`;
  return new RepVGGError('ERR_RESUME', message);
}
