// npm run pack:gpu [-- --archs 90a-real --out FILE]: packs everything that the GPU tests and benchmarks need on a Linux machine with a
// driver, bash, tar and xz: the running Node (stripped), the package with its dependencies, and the addon and tests for the given
// architectures. On that machine:
//
//   tar xf repvgg-gpu.tar.xz && repvgg-gpu/run.sh RESULTS && repvgg-gpu/bench.sh RESULTS
//
// run test/gpu/run.mjs and test/gpu/bench.mjs.
import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import {parseArgs} from 'node:util';

const {values} = parseArgs({
  options: {
    archs: {type: 'string', default: '90a-real'},
    out: {type: 'string', default: 'build/repvgg-gpu.tar.xz'},
  },
});
const most = 60e6;
const root = path.resolve(import.meta.dirname, '..');
const out = path.resolve(root, values.out);
const build = path.join(root, 'build', 'pack-gpu');
const stage = path.join(build, 'repvgg-gpu');
const run = (command, ...args) =>
  execFileSync(command, args, {cwd: root, stdio: ['ignore', 'inherit', 'inherit']});

const compile = target =>
  run(
    'npx',
    'cmake-js',
    'compile',
    '-O',
    build,
    `--CDREPVGG_CUDA_ARCHITECTURES=${values.archs}`,
    '--target',
    target,
  );
compile('repvgg');
compile('repvgg_gpu_tests');
run('npm', 'run', '--silent', 'build:ts');

rmSync(stage, {recursive: true, force: true});
const copy = (from, to) => {
  mkdirSync(path.dirname(path.join(stage, to)), {recursive: true});
  cpSync(from, path.join(stage, to), {recursive: true, dereference: true});
};
for (const part of [
  'package.json',
  'dist',
  'assets',
  'bench/peers',
  'test/gpu/steps.mjs',
  'test/gpu/run.mjs',
  'test/gpu/networks.mjs',
  'test/gpu/lifetimes.mjs',
  'test/gpu/bench.mjs',
]) {
  if (existsSync(path.join(root, part))) copy(path.join(root, part), part);
}
copy(path.join(build, 'Release', 'repvgg.node'), 'build/Release/repvgg.node');
copy(path.join(build, 'test', 'gpu', 'repvgg_gpu_tests'), 'test/gpu/repvgg_gpu_tests');
const dependencies = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'ignore'],
});
for (const folder of dependencies.trim().split('\n').slice(1)) {
  if (folder && existsSync(folder)) copy(folder, path.relative(root, folder));
}
const node = path.join(stage, 'node');
copyFileSync(process.execPath, node);
chmodSync(node, 0o755);
for (const binary of ['node', 'build/Release/repvgg.node', 'test/gpu/repvgg_gpu_tests']) {
  run('strip', '-s', path.join(stage, binary));
}
for (const script of ['run', 'bench']) {
  const start = `#!/bin/bash
here=$(cd "\${BASH_SOURCE[0]%/*}" && pwd)
exec "$here/node" "$here/test/gpu/${script}.mjs" "$@"
`;
  writeFileSync(path.join(stage, `${script}.sh`), start, {mode: 0o755});
}

mkdirSync(path.dirname(out), {recursive: true});
run('tar', '-C', build, '-I', 'xz --x86 --lzma2=preset=6,dict=64MiB', '-cf', out, 'repvgg-gpu');
const {size} = statSync(out);
console.log(`${out}: ${(size / 1e6).toFixed(1)} MB`);
if (size > most) {
  console.error(`The archive is larger than ${most / 1e6} MB.`);
  process.exit(1);
}
