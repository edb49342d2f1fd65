import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, statSync, writeFileSync} from 'node:fs';
import {cpus} from 'node:os';
import path from 'node:path';
import {makeFolder} from '../support/make_folder.ts';

/** The crash of a process that probed a binary. */
export class Crash extends Error {
  /** Such as "SIGILL". */
  readonly signal: string;

  constructor(file: string, signal: string) {
    super(`A process that loaded ${file} was killed by ${signal}.`);
    this.signal = signal;
  }
}

/** In ms. Longer than a probe takes on a busy machine; a binary that hangs counts as not crashing. */
const timeout = 10_000;
/** Signals of crashes, as opposed to those sent to end a process. */
const crashes: readonly string[] = ['SIGILL', 'SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGFPE', 'SIGTRAP', 'SIGSYS'];

/**
 * Loads a binary in a child process first, so that a crash does not end this one. Success is recorded in the cache folder,
 * for this processor and version of Node, so only the first load takes the time that Node takes to start. Returns the crash, or
 * null, also if no process can be started.
 */
export function probe(file: string, env: NodeJS.ProcessEnv = process.env): Crash | null {
  if (!canStartNode()) return null;
  const marker = markerOf(file, env);
  if (marker !== null && existsSync(marker)) return null;
  const {signal, error} = spawnSync(process.execPath, ['-e', 'require(process.argv[1]).cpuInfo()', file], {
    // NODE_OPTIONS may contain options that must not be used twice, such as --inspect.
    env: {...env, NODE_OPTIONS: ''},
    stdio: 'ignore',
    timeout,
  });
  if (error) return null;
  // An exit code is not a crash: loading the binary here throws the same error, with its reason.
  if (signal === null && marker !== null) remember(marker);
  return signal !== null && crashes.includes(signal) ? new Crash(file, signal) : null;
}

/** Whether `process.execPath` is Node itself, rather than an application built with it, and may be started. */
function canStartNode(): boolean {
  const {permission, versions} = process as typeof process & {permission?: {has(scope: string): boolean}};
  if (permission && !permission.has('child')) return false;
  return /^node(js)?(\.exe)?$/.test(path.basename(process.execPath)) && !versions.electron;
}

/** The file that records that this binary did not crash; null without a cache folder. */
function markerOf(file: string, env: NodeJS.ProcessEnv): string | null {
  const {REPVGG_CACHE_DIR: own, XDG_CACHE_HOME: xdg, HOME: home} = env;
  const folder = own || (xdg && path.join(xdg, 'repvgg')) || (home && path.join(home, '.cache/repvgg'));
  if (!folder) return null;
  try {
    const {size, mtimeMs} = statSync(file);
    const tried = JSON.stringify([file, size, mtimeMs, process.version, cpus()[0]?.model]);
    return path.join(folder, `loads-${createHash('sha256').update(tried).digest('hex').slice(0, 16)}`);
  } catch {
    return null; // Loading the binary reports the reason.
  }
}

/** If the folder is not writable, the next process probes again. */
function remember(marker: string): void {
  try {
    makeFolder(path.dirname(marker));
    writeFileSync(marker, '');
  } catch {}
}
