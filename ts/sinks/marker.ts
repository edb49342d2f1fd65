import {readFile} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import {append, replaceFile} from '../replace_file.ts';

/** How far a file of rows has come, as it is kept beside it. */
export interface Marker {
  /** What the rows were made with; a run that goes on has to be the same. */
  settings: Record<string, unknown>;
  /** Of the journal. What is behind them was not finished. */
  bytes: number;
  ok: number;
  failed: number;
  /** Rows, and so records of the source, from its beginning. */
  rows: number;
  /** Of the ids of these rows, in order. */
  idDigest: string;
  /** There are no more rows to come. */
  complete: boolean;
}

/** What the rows so far amount to. */
export type Progress = Omit<Marker, 'settings' | 'bytes' | 'complete'>;

export const markerPath = (path: string): string => `${path}.partial.json`;

/** undefined where there is none. */
export async function readMarker(path: string): Promise<Marker | undefined> {
  let text: string;
  try {
    text = await readFile(markerPath(path), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(`read ${markerPath(path)}`, cause);
  }
  try {
    const marker = JSON.parse(text) as Marker;
    const counts = [marker.bytes, marker.rows, marker.ok, marker.failed];
    const isWhole = typeof marker.settings === 'object' && marker.settings !== null;
    if (isWhole && counts.every(count => Number.isInteger(count) && count >= 0)) return marker;
  } catch {
    // Said below.
  }
  throw new RepVGGError(
    'ERR_RESUME',
    `Cannot read ${markerPath(path)}: it is not what a run leaves; remove it to begin again.`,
  );
}

/** Rows that were made otherwise are not to be mixed with these. */
export function compareSettings(
  path: string,
  before: Record<string, unknown>,
  now: Record<string, unknown>,
): void {
  for (const name of Object.keys({...before, ...now})) {
    const [was, is] = [JSON.stringify(before[name]), JSON.stringify(now[name])];
    if (was === is) continue;
    throw cannotResume(path, `its rows were made with ${name} ${was} and not ${is}`);
  }
}

export async function writeMarker(path: string, marker: Marker): Promise<void> {
  const text = `${JSON.stringify(marker, null, 2)}\n`;
  await replaceFile(markerPath(path), file => append(file, Buffer.from(text)));
}

export function cannotResume(path: string, problem: string): RepVGGError {
  const message = `Cannot resume ${path}: ${problem}; remove ${markerPath(path)} to begin again.`;
  return new RepVGGError('ERR_RESUME', message);
}
