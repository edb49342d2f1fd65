// npm run test:gpu [-- RESULTS ...], or npm run bench:gpu, which passes "bench" first: builds for this machine's GPU and runs
// test/gpu/run.mjs or bench.mjs. Results go to build/gpu-results unless a folder is given. Exit code 2 without a GPU.
import {execFileSync, spawnSync} from 'node:child_process';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const run = (command, ...args) => execFileSync(command, args, {cwd: root, stdio: 'inherit'});
run('npx', 'cmake-js', 'compile');
run('npx', 'cmake-js', 'compile', '--target', 'repvgg_gpu_tests');
run('npm', 'run', '--silent', 'build:ts');
const given = process.argv.slice(2);
const script = given[0] === 'bench' ? given.shift() : 'run';
if (given.length === 0 || given[0].startsWith('-')) given.unshift(path.join(root, 'build', 'gpu-results'));
const {status} = spawnSync(process.execPath, [path.join(root, 'test', 'gpu', `${script}.mjs`), ...given], {
  stdio: 'inherit',
  env: {...process.env, REPVGG_GPU_TESTS: path.join(root, 'build', 'test', 'gpu', 'repvgg_gpu_tests')},
});
process.exit(status ?? 1);
