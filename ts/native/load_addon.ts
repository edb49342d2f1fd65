import {existsSync, readdirSync} from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {RepVGGError} from '../errors.ts';
import {explainLoadFailure, isOlder, oldestNode} from './load_failure.ts';
import {thisMachine} from './machine.ts';
import {probe} from './probe.ts';

const require = createRequire(import.meta.url);
let given: (() => unknown) | undefined;

/**
 * Loads the addon by a `require` with a literal path, which bundlers can follow, instead of searching for it. Used by the
 * entry points of targets, such as `repvgg/linux-x64`.
 */
export function loadAddonWith(requireAddon: () => unknown): void {
  given = requireAddon;
}

/**
 * Finds, probes and loads the addon.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export function loadAddon(): unknown {
  let file: string | null = null;
  try {
    // On an older Node loading might succeed, and later calls fail.
    if (isOlder(process.versions.node, oldestNode)) throw new Error('This Node is too old.');
    if (given) {
      file = 'the bundled binary';
      return given();
    }
    file = findAddon();
    if (file === null) throw new Error('No binary was found.');
    const crash = probe(file);
    if (crash) throw crash;
    return require(file);
  } catch (cause) {
    const failure = {file, cause: cause as Error, prebuilds: prebuilds(), named: named()};
    throw new RepVGGError('ERR_NATIVE_LOAD', explainLoadFailure(failure, thisMachine()), {cause});
  }
}

/** The locally built binary, else the prebuilt one for this platform, in prebuildify's layout; or null. */
export function findAddon(): string | null {
  const target = `${process.platform}-${process.arch}`;
  const libc = process.platform === 'linux' ? '.glibc' : '';
  const candidates = ['build/Release/repvgg.node', `prebuilds/${target}/repvgg${libc}.node`];
  return candidates.map(file => path.join(searched(), file)).find(file => existsSync(file)) ?? null;
}

/** The folder in REPVGG_PREBUILD, which counts as unset if empty; absolute, as `require` would take it from this file's folder. */
function named(): string | null {
  const folder = process.env.REPVGG_PREBUILD;
  return folder ? path.resolve(folder) : null;
}

/** The folder to search for binaries: the package's, or that in REPVGG_PREBUILD. */
function searched(): string {
  return named() ?? fileURLToPath(new URL('../..', import.meta.url));
}

/** The names of the folders in prebuilds/, one for each platform. */
function prebuilds(): string[] {
  const folder = path.join(searched(), 'prebuilds');
  return existsSync(folder) ? readdirSync(folder) : [];
}
