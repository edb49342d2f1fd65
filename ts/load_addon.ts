import {existsSync, readdirSync} from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {RepVGGError} from './errors.ts';
import {explainLoadFailure, isOlder, oldestNode} from './load_failure.ts';
import {thisMachine} from './machine.ts';
import {probe} from './probe.ts';

const require = createRequire(import.meta.url);
let given: (() => unknown) | undefined;

/**
 * Takes the addon from a `require` with a literal path, which bundlers see and follow, instead of looking for it: what the
 * entry of a target, such as `repvgg/linux-x64`, does.
 */
export function loadAddonWith(requireAddon: () => unknown): void {
  given = requireAddon;
}

/**
 * Finds, tries and loads the addon.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export function loadAddon(): unknown {
  let file: string | null = null;
  try {
    // It might load all the same, and what comes after it fail.
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

/** The binary that was built here, else that of the package for this platform, as prebuildify lays them out; or null. */
export function findAddon(): string | null {
  const target = `${process.platform}-${process.arch}`;
  const libc = process.platform === 'linux' ? '.glibc' : '';
  const candidates = ['build/Release/repvgg.node', `prebuilds/${target}/repvgg${libc}.node`];
  return candidates.map(file => path.join(searched(), file)).find(file => existsSync(file)) ?? null;
}

/** What REPVGG_PREBUILD names; empty, it names nothing. */
function named(): string | null {
  return process.env.REPVGG_PREBUILD || null;
}

/** Where binaries are looked for: the package, or what REPVGG_PREBUILD names. */
function searched(): string {
  return named() ?? fileURLToPath(new URL('..', import.meta.url));
}

/** The folders of prebuilds/, one for each platform. */
function prebuilds(): string[] {
  const folder = path.join(searched(), 'prebuilds');
  return existsSync(folder) ? readdirSync(folder) : [];
}
