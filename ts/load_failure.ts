import {describeMachine, type Machine} from './machine.ts';
import {Crash} from './probe.ts';

/** Why the addon does not load. */
export interface LoadFailure {
  /** The binary, or null where none was found. */
  file: string | null;
  /** What loading it threw, or a {@link Crash}. */
  cause: Error;
  /** The folders of prebuilds/, for example "linux-x64". */
  prebuilds: readonly string[];
}

/** package.json's engines. */
export const oldestNode = '20.19.0';

const build =
  'Or build the addon from source, with a C++20 compiler and CMake: "npm install --save-dev cmake-js node-addon-api", ' +
  'then "npx cmake-js compile -d node_modules/repvgg".';
const reinstall = 'Install the package again: "npm install --force repvgg".';

/** One sentence with what was found and what is required, and what to do. */
export function explainLoadFailure(failure: LoadFailure, machine: Machine): string {
  const {problem, advice} = diagnose(failure, machine);
  return `The native addon does not load on this machine (${describeMachine(machine)}): ${problem}. ${advice}`;
}

function diagnose(
  {file, cause, prebuilds}: LoadFailure,
  {platform, arch, glibc, node, cpu}: Machine,
): {problem: string; advice: string} {
  if (isOlder(node, oldestNode)) {
    return {problem: `found Node ${node}, required ${oldestNode} or later`, advice: 'Update Node.'};
  }
  if (cause instanceof Crash) {
    if (cause.signal === 'SIGILL') {
      const problem = `${file} has instructions that this processor (${cpu}) lacks: a process that tried it ended by SIGILL`;
      return {problem, advice: `Build it for this processor. ${build}`};
    }
    const problem = `a process that tried ${file} crashed (${cause.signal})`;
    return {problem, advice: `${reinstall} ${build} If that crashes too, please report it.`};
  }
  const {code} = cause as NodeJS.ErrnoException;
  const [firstLine = ''] = cause.message.split('\n');
  if (code === 'ERR_DLOPEN_DISABLED') {
    const problem = 'this process may not load addons (--no-addons, or --permission without --allow-addons)';
    return {problem, advice: 'Start Node with --allow-addons, or without --no-addons.'};
  }
  if (code === 'ERR_ACCESS_DENIED') {
    const problem = `--permission keeps this process from ${file ?? 'the folder of the package'}`;
    return {problem, advice: 'Allow it: --allow-addons --allow-fs-read=node_modules.'};
  }
  if (file === null) {
    const found =
      platform === 'linux' && glibc === null ? `${platform}-${arch} with musl` : `${platform}-${arch}`;
    if (prebuilds.length === 0)
      return {problem: 'this copy of the package holds no binary', advice: `${reinstall} ${build}`};
    const required = prebuilds.map(target => (target.startsWith('linux') ? `${target} with glibc` : target));
    const problem = `found ${found}, and there are binaries only for ${required.join(', ')}`;
    const musl =
      platform === 'linux' && glibc === null ? 'Use an image with glibc, such as node:22-slim. ' : '';
    return {problem, advice: `${musl}${build}`};
  }
  const versions = Array.from(
    cause.message.matchAll(/`GLIBC_([\d.]+)' not found/g),
    ([, version]) => version!,
  );
  if (versions.length > 0) {
    const required = versions.reduce((newest, version) => (isOlder(newest, version) ? version : newest));
    const problem = `found glibc ${glibc ?? 'of unknown version'}, required ${required} or later by ${file}`;
    return {problem, advice: `Use a newer system or image. ${build}`};
  }
  if (/file too short|invalid ELF header|not a valid|mach-o/i.test(firstLine)) {
    return {problem: `${file} is damaged or of another system (${firstLine})`, advice: reinstall};
  }
  if (/failed to map segment|Operation not permitted/.test(firstLine)) {
    const problem = `the system refuses to run code from ${file} (${firstLine})`;
    return {problem, advice: 'Install the package on a file system that is not mounted with "noexec".'};
  }
  const library = /(lib\S+\.so[\d.]*): cannot open shared object file/.exec(firstLine)?.[1];
  if (library) {
    return {problem: `the library ${library}, which it needs, is not there`, advice: `Install it. ${build}`};
  }
  return {problem: firstLine.replace(/\.$/, ''), advice: build};
}

/** Whether a version comes before another, by its numbers. */
function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map(text => text.split('.').map(Number)) as [number[], number[]];
  for (const [i, number] of b.entries()) {
    if ((a[i] ?? 0) !== number) return (a[i] ?? 0) < number;
  }
  return false;
}
