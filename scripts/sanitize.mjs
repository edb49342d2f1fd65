// Builds the addon with a sanitizer and runs the tests that use it: node scripts/sanitize.mjs address|thread
// Needs the sanitizer libraries of g++ or clang and, for `thread`, setarch (util-linux), because ThreadSanitizer does not support address
// space randomisation. Node itself is not instrumented, so leak detection is off and its own races are suppressed.
import {execFileSync, spawnSync} from 'node:child_process';
import path from 'node:path';
import './libjpeg_turbo.mjs';

const kind = process.argv[2];
const kinds = {
  address: {flags: 'address,undefined', libraries: ['libasan.so', 'libubsan.so']},
  thread: {flags: 'thread', libraries: ['libtsan.so']},
};
if (!(kind in kinds)) {
  console.error('usage: node scripts/sanitize.mjs address|thread');
  process.exit(2);
}
const {flags, libraries} = kinds[kind];
const root = path.resolve(import.meta.dirname, '..');
const output = path.join(root, `build-${kind}`);

const run = (command, args, env = {}) => {
  const {status} = spawnSync(command, args, {cwd: root, stdio: 'inherit', env: {...process.env, ...env}});
  if (status !== 0) process.exit(status ?? 1);
};

run('npx', [
  'cmake-js',
  'compile',
  '-O',
  path.join(output, 'build'),
  `--CDREPVGG_SANITIZE=${flags}`,
  '--CDREPVGG_CUDA=OFF',
]);

const compiler = process.env.CXX ?? 'g++';
const preload = libraries.map(name =>
  execFileSync(compiler, [`-print-file-name=${name}`], {encoding: 'utf8'}).trim(),
);
// A sanitised process is too slow for tests of event loop delays, and keeps freed memory, which one test measures.
const left = ['--match=!*event loop*', '--match=!*other data in the caches*'];
const ava = ['node_modules/.bin/ava', '--timeout=10m', '--concurrency=1', ...left];
const tests = [
  'test/native/native_network.test.ts',
  'test/native/native_network_use.test.ts',
  'test/loading/native_fusion.test.ts',
  'test/checkpoint/slices.test.ts',
  'test/native/bf16.test.ts',
  'test/native/algorithm_choice.test.ts',
  'test/images/jpeg.test.ts',
  'test/images/fs_while_decoding.test.ts',
  'test/images/preprocessing.test.ts',
  'test/native/threads.test.ts',
  'test/model.test.ts',
];
const [command, ...args] = kind === 'thread' ? ['setarch', '-R', ...ava, ...tests] : [...ava, ...tests];
run(command, args, {
  // Loads this addon instead of the package's.
  REPVGG_PREBUILD: output,
  LD_PRELOAD: preload.join(' '),
  ASAN_OPTIONS: 'detect_leaks=0:halt_on_error=1',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
  TSAN_OPTIONS: `halt_on_error=1:suppressions=${path.join(root, 'scripts/tsan.supp')}`,
});
