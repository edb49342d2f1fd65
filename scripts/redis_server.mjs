// Fetches Redis from Debian into build-redis/, for the tests of repvgg/bullmq, unless redis-server is on the PATH. npm has no such package.
// Without Redis those tests are skipped.
import {execFileSync} from 'node:child_process';
import {cpSync, existsSync} from 'node:fs';
import path from 'node:path';
import {withDebian} from './debian.mjs';

const out = path.resolve(import.meta.dirname, '../build-redis');
// Libraries it is linked with that a minimal system may lack.
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
  if (problem) console.warn(`No Redis, which the tests of repvgg/bullmq need: ${problem}`);
}

function isOnPath() {
  try {
    execFileSync('redis-server', ['--version'], {stdio: 'ignore'});
    return true;
  } catch {
    return false;
  }
}
