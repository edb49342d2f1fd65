import {fstat, type Stats} from 'node:fs';
import {realpath, stat} from 'node:fs/promises';
import {promisify} from 'node:util';
import {RepVGGError} from '../errors.ts';
import {isGlob, matchesGlob} from './glob.ts';

const paths = new WeakMap<object, string>();

/** Records where a source came from, for {@link checkNotSource}. */
export function rememberPath(records: object, path: string): void {
  paths.set(records, path);
}

/**
 * Refuses an output file that is itself part of the source.
 *
 * @param source the result of `openSource`; other iterables are not checked
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

/** Undefined if standard input is closed. */
const stdinStats = (): Promise<Stats | undefined> => promisify(fstat)(0).catch(() => undefined);
