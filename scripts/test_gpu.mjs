// npm run test:gpu [RESULTS]: builds the GPU tests for this machine's GPU and runs them. Results go to build/gpu-results
// unless a folder is given. Exit code 2 without a GPU.
import {execFileSync, spawnSync} from 'node:child_process';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const run = (command, ...args) => execFileSync(command, args, {cwd: root, stdio: 'inherit'});
run('npx', 'cmake-js', 'compile');
run('npx', 'cmake-js', 'compile', '--target', 'repvgg_gpu_tests');
run('npm', 'run', '--silent', 'build:ts');
const results = process.argv[2] ?? path.join(root, 'build', 'gpu-results');
const {status} = spawnSync(path.join(root, 'test', 'gpu', 'run.sh'), [results, process.execPath], {
  stdio: 'inherit',
  env: {...process.env, REPVGG_GPU_TESTS: path.join(root, 'build', 'test', 'gpu', 'repvgg_gpu_tests')},
});
process.exit(status ?? 1);
