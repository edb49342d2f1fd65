import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, statSync, writeFileSync} from 'node:fs';
import {cpus} from 'node:os';
import path from 'node:path';
import {makeFolder} from './make_folder.ts';

/** How a process that tried a binary ended, where not by itself. */
export class Crash extends Error {
  /** For example "SIGILL". */
  readonly signal: string;

  constructor(file: string, signal: string) {
    super(`A process that loaded ${file} ended by ${signal}.`);
    this.signal = signal;
  }
}

/** In ms. Longer than a busy machine takes; what hangs is left to the process itself. */
const timeout = 10_000;
/** Of a crash, and not of somebody who ends processes. */
const crashes: readonly string[] = ['SIGILL', 'SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGFPE', 'SIGTRAP', 'SIGSYS'];

/**
 * Loads a binary in a process of its own, so that one that crashes takes that process with it and not this one. What was
 * tried once, on this processor and by this Node, is remembered in the cache folder and not tried again; the first time
 * costs as long as Node takes to start. Returns how the process crashed, or null, also where none can be started: then
 * the binary is loaded untried.
 */
export function probe(file: string, env: NodeJS.ProcessEnv = process.env): Crash | null {
  if (!canStartNode()) return null;
  const marker = markerOf(file, env);
  if (marker !== null && existsSync(marker)) return null;
  const {signal, error} = spawnSync(process.execPath, ['-e', 'require(process.argv[1]).cpuInfo()', file], {
    // NODE_OPTIONS may have what must not run twice, such as --inspect.
    env: {...env, NODE_OPTIONS: ''},
    stdio: 'ignore',
    timeout,
  });
  if (error) return null;
  // Ending with an exit code is no crash: loading it here then throws the same error, with its reason.
  if (signal === null && marker !== null) remember(marker);
  return signal !== null && crashes.includes(signal) ? new Crash(file, signal) : null;
}

/** Whether `process.execPath` is Node itself, not an application built with it, and may be started. */
function canStartNode(): boolean {
  const {permission, versions} = process as typeof process & {permission?: {has(scope: string): boolean}};
  if (permission && !permission.has('child')) return false;
  return /^node(js)?(\.exe)?$/.test(path.basename(process.execPath)) && !versions.electron;
}

/** The file whose existence says that this very binary did not crash; null without a cache folder. */
function markerOf(file: string, env: NodeJS.ProcessEnv): string | null {
  const {REPVGG_CACHE_DIR: own, XDG_CACHE_HOME: xdg, HOME: home} = env;
  const folder = own || (xdg && path.join(xdg, 'repvgg')) || (home && path.join(home, '.cache/repvgg'));
  if (!folder) return null;
  try {
    const {size, mtimeMs} = statSync(file);
    const tried = JSON.stringify([file, size, mtimeMs, process.version, cpus()[0]?.model]);
    return path.join(folder, `loads-${createHash('sha256').update(tried).digest('hex').slice(0, 16)}`);
  } catch {
    return null; // Loading it says why.
  }
}

/** A folder that cannot be written only costs the next process its time. */
function remember(marker: string): void {
  try {
    makeFolder(path.dirname(marker));
    writeFileSync(marker, '');
  } catch {}
}
