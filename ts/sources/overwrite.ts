import {fstat, type Stats} from 'node:fs';
import {realpath, stat} from 'node:fs/promises';
import {promisify} from 'node:util';
import {RepVGGError} from '../errors.ts';
import {isGlob, matchesGlob} from './glob.ts';

const paths = new WeakMap<object, string>();

/** Remembers where records come from, for {@link checkNotSource}. */
export function rememberPath(records: object, path: string): void {
  paths.set(records, path);
}

/**
 * Checks that a source would not be lost when a file is written.
 *
 * @param source what `openSource` has given; nothing is known of others
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export async function checkNotSource(output: string, source: object): Promise<void> {
  const path = paths.get(source);
  if (path === undefined) return;
  if (path === '-') {
    const [input, written] = await Promise.all([stdinStats(), stat(output).catch(() => undefined)]);
    if (input?.isFile() && input.ino === written?.ino && input.dev === written.dev) throw isSource(output);
    return;
  }
  const real = (name: string): Promise<string | undefined> => realpath(name).catch(() => undefined);
  const [realSource, realOutput] = await Promise.all([real(path), real(output)]);
  if (realSource === undefined ? isGlob(path) && matchesGlob(path, output) : realSource === realOutput) {
    throw isSource(output);
  }
}

function isSource(output: string): RepVGGError {
  return new RepVGGError(
    'ERR_INVALID_ARGUMENT',
    `Cannot write ${output}: it is part of the source. Name another file.`,
  );
}

/** Undefined where it is closed. */
const stdinStats = (): Promise<Stats | undefined> => promisify(fstat)(0).catch(() => undefined);
