import {existsSync, readdirSync} from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {RepVGGError} from './errors.ts';
import {explainLoadFailure} from './load_failure.ts';
import {thisMachine} from './machine.ts';
import {probe} from './probe.ts';

const packageRoot = fileURLToPath(new URL('..', import.meta.url));
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
    if (given) {
      file = 'the bundled binary';
      return given();
    }
    file = findAddon();
    const crash = probe(file);
    if (crash) throw crash;
    return require(file);
  } catch (cause) {
    const folder = path.join(process.env.REPVGG_PREBUILD ?? packageRoot, 'prebuilds');
    const prebuilds = existsSync(folder) ? readdirSync(folder) : [];
    const failure = {file, cause: cause as Error, prebuilds};
    throw new RepVGGError('ERR_NATIVE_LOAD', explainLoadFailure(failure, thisMachine()), {cause});
  }
}

/** The path of the binary that was built here, else of the package's for this platform. Throws where there is neither. */
export function findAddon(): string {
  return (require('node-gyp-build') as {path(folder: string): string}).path(packageRoot);
}
