import {clause} from '../support/plain_text.ts';
import {type Machine, machineInWords} from './machine.ts';
import {Crash} from './probe.ts';

/** Why the addon does not load. */
export interface LoadFailure {
  /** The binary, or null if none was found. */
  file: string | null;
  /** The error of loading it, or a {@link Crash}. */
  cause: Error;
  /** The names of the folders in prebuilds/, such as "linux-x64". */
  prebuilds: readonly string[];
  /** The folder in REPVGG_PREBUILD, if set. */
  named?: string | null;
}

/** The minimum in package.json's `engines`. */
export const oldestNode = '20.19.0';

const build =
  'build the addon from source, with a C++20 compiler and CMake: "npm install --save-dev cmake-js node-addon-api", ' +
  'then "npx cmake-js compile -d node_modules/repvgg"';
const reinstall = 'install the package again with "npm install --force repvgg"';

interface Diagnosis {
  problem: string;
  /** Remedies, the likeliest first. */
  advice: string[];
}

/** A sentence with what was found and what is required, and one with what to do. */
export function explainLoadFailure(failure: LoadFailure, machine: Machine): string {
  const {problem, advice} = diagnose(failure, machine);
  const cure = advice.join(', or ');
  return `The native addon does not load on this machine (${machineInWords(machine)}): ${problem}. ${cure[0]!.toUpperCase()}${cure.slice(1)}.`;
}

function diagnose({file, cause, prebuilds, named}: LoadFailure, machine: Machine): Diagnosis {
  const {glibc, node, cpu} = machine;
  if (isOlder(node, oldestNode)) {
    return {problem: `found Node ${node}, required ${oldestNode} or later`, advice: ['update Node']};
  }
  if (cause instanceof Crash) {
    const illegal = `${file} uses instructions that this processor (${cpu}) lacks: a process that loaded it was killed by SIGILL`;
    if (cause.signal === 'SIGILL') return {problem: illegal, advice: [build]};
    const advice = [reinstall, build, 'report it with the output of "repvgg doctor"'];
    return {problem: `a process that loaded ${file} crashed (${cause.signal})`, advice};
  }
  const {code} = cause as NodeJS.ErrnoException;
  if (code === 'ERR_DLOPEN_DISABLED') {
    const problem = 'this process may not load addons (--no-addons, or --permission without --allow-addons)';
    return {problem, advice: ['start Node with --allow-addons', 'without --no-addons']};
  }
  if (code === 'ERR_ACCESS_DENIED') {
    const {resource = 'the folder of the package'} = cause as {resource?: string};
    return {
      problem: `--permission keeps this process from ${resource}`,
      advice: ['allow it with --allow-fs-read'],
    };
  }
  if (file === null && named) {
    const problem = `${named}, which REPVGG_PREBUILD names, contains no binary for it`;
    return {problem, advice: ['unset REPVGG_PREBUILD']};
  }
  if (file === null || (machine.platform === 'linux' && glibc === null)) {
    return diagnoseMissing(prebuilds, machine);
  }
  const versions = Array.from(
    cause.message.matchAll(/`GLIBC_([\d.]+)' not found/g),
    ([, version]) => version!,
  );
  if (versions.length > 0) {
    const required = versions.reduce((newest, version) => (isOlder(newest, version) ? version : newest));
    const problem = `found glibc ${glibc ?? 'of unknown version'}, required ${required} or later by ${file}`;
    return {problem, advice: ['use a newer system or image', build]};
  }
  const reason = clause(cause.message.split('\n')[0]!);
  if (/file too short|invalid ELF header|not a valid|mach-o/i.test(reason)) {
    return {problem: `${file} is damaged or for another system (${reason})`, advice: [reinstall]};
  }
  if (/failed to map segment|Operation not permitted/.test(reason)) {
    const advice = ['install the package on a file system that is not mounted with "noexec"'];
    return {problem: `the system refuses to run code from ${file} (${reason})`, advice};
  }
  const library = /(lib\S+\.so[\d.]*): cannot open shared object file/.exec(reason)?.[1];
  if (library) {
    return {problem: `it requires the library ${library}, which is missing`, advice: ['install it', build]};
  }
  return {problem: reason, advice: [reinstall, build]};
}

function diagnoseMissing(prebuilds: readonly string[], {platform, arch, glibc}: Machine): Diagnosis {
  if (prebuilds.length === 0) {
    return {problem: 'this copy of the package contains no binary', advice: [reinstall, build]};
  }
  const musl = platform === 'linux' && glibc === null;
  const found = `${platform}-${arch}${musl ? ' with musl' : ''}`;
  if (prebuilds.includes(found)) {
    return {problem: `its binary for ${found} is missing from the package`, advice: [reinstall, build]};
  }
  const required = prebuilds.map(target => (target.startsWith('linux') ? `${target} with glibc` : target));
  return {
    problem: `found ${found}, but there are only binaries for ${required.join(', ')}`,
    advice: [...(musl ? ['use an image with glibc, such as node:22-slim'] : []), build],
  };
}

/** Compares two dotted version numbers. */
export function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map(text => text.split('.').map(Number)) as [number[], number[]];
  for (const [i, number] of b.entries()) {
    if ((a[i] ?? 0) !== number) return (a[i] ?? 0) < number;
  }
  return false;
}
