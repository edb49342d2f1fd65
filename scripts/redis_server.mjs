// Fetches Redis from Debian into build-redis/, for the tests of repvgg/bullmq, unless there is a redis-server on the PATH. No
// package of npm has it. Where it cannot be had those tests say that they were not run.
import {execFileSync} from 'node:child_process';
import {cpSync, existsSync} from 'node:fs';
import path from 'node:path';
import {withDebian} from './debian.mjs';

const out = path.resolve(import.meta.dirname, '../build-redis');
// What it is linked with, as far as a small system may lack it.
const libraries = [
  'libjemalloc2',
  'liblzf1',
  'libatomic1',
  'libssl3',
  'libsystemd0',
  'libcap2',
  'libgcrypt20',
];
const more = ['libgpg-error0', 'liblzma5', 'libzstd1', 'liblz4-1'];

if (!isOnPath() && !existsSync(out)) {
  const problem = withDebian(({folder, unpack}) => {
    unpack(['redis-tools', ...libraries, ...more], 'redis');
    cpSync(path.join(folder, 'redis'), out, {recursive: true, verbatimSymlinks: true});
  });
  if (problem) console.warn(`No Redis: the tests of repvgg/bullmq will not be run: ${problem}`);
}

function isOnPath() {
  try {
    execFileSync('redis-server', ['--version'], {stdio: 'ignore'});
    return true;
  } catch {
    return false;
  }
}
