import {spawnSync} from 'node:child_process';
import {mkdirSync} from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '../..');

/** Where the emulator's test programs are; as REPVGG_PREBUILD it names the addon with emulated GPUs (test/emulator/addon.cc). */
export const emulatorFolder: string = path.join(root, 'build/emulator');

/** Builds the kernel emulator, its tests and the addon that runs on it, where that has not been done: one process at a time. */
export function buildEmulator(): void {
  mkdirSync(emulatorFolder, {recursive: true});
  const cmake = [path.join(root, 'node_modules/.bin/cmake-js'), 'build', '-d', root, '--target', 'emulator'];
  const {status, stdout, error} = spawnSync(
    'flock',
    [path.join(emulatorFolder, 'lock'), ...cmake, '-p', '2'],
    {encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28},
  );
  if (error) throw error;
  if (status !== 0) throw new Error(`The emulator cannot be built:\n${stdout}`);
}
