// npm run prebuild -- --cuda DIR --glibc DIR: builds the binary of a release, prebuilds/linux-x64/repvgg.glibc.node, and checks it with
// scripts/check-prebuild.mjs.
//
//   --cuda DIR    CUDA 12.x toolkit (or CUDA_PATH), the last that compiles for Volta; releases are built with 12.4
//   --glibc DIR   root of a glibc to link with (or REPVGG_GLIBC_SYSROOT), old enough that the binary needs no symbol newer than 2.28, for
//                 example libc6 and libc6-dev of Debian 11 unpacked by "dpkg -x"; not needed on a system such as manylinux_2_28
//   --arch arm64  build prebuilds/linux-arm64/repvgg.glibc.node instead, by Debian's cross compiler (g++-aarch64-linux-gnu) and without
//                 CUDA; --glibc is then one for arm64
//   --cpu         build without CUDA, to test the package on machines without a toolkit
//   --any-glibc   accept the glibc of this system, for the same purpose
import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, rmSync} from 'node:fs';
import path from 'node:path';
import {parseArgs} from 'node:util';
import {buildLibjpeg} from './build_libjpeg.mjs';
import {crossOptions, crossPrefix} from './cross.mjs';

const {values} = parseArgs({
  options: {
    cuda: {type: 'string', default: process.env.CUDA_PATH},
    glibc: {type: 'string', default: process.env.REPVGG_GLIBC_SYSROOT},
    arch: {type: 'string', default: process.arch},
    cpu: {type: 'boolean', default: false},
    'any-glibc': {type: 'boolean', default: false},
  },
});
const {arch, cuda, glibc} = values;
const cross = crossOptions(arch);
const cpu = values.cpu || cross !== null;
const root = path.resolve(import.meta.dirname, '..');
const stage = path.join(root, cross ? `build-prebuild-${arch}` : 'build-prebuild');
if (!cpu && !cuda) fail('Expected --cuda DIR, a CUDA 12.x toolkit, or --cpu for a binary without CUDA.');
if (!cpu && !existsSync(path.join(cuda, 'bin/nvcc'))) fail(`There is no bin/nvcc in ${cuda}.`);
const libjpeg = buildLibjpeg(arch);
if (!existsSync(path.join(libjpeg, 'libjpeg.a'))) fail('A release needs libjpeg-turbo.');
if (glibc && !existsSync(path.join(glibc, 'usr/lib'))) fail(`There is no usr/lib in ${glibc}.`);

const options = cpu ? {REPVGG_CUDA: 'OFF'} : cudaOptions(path.resolve(cuda));
Object.assign(options, cross, {REPVGG_LIBJPEG: libjpeg});
if (glibc) options.REPVGG_GLIBC_SYSROOT = path.resolve(glibc);

// Not in build/, where prebuildify would pick up the developer's own addon.
rmSync(path.join(root, `prebuilds/linux-${arch}`), {recursive: true, force: true});
mkdirSync(stage, {recursive: true});
const shim = path.join(import.meta.dirname, 'node-gyp-shim.mjs');
execFileSync(
  path.join(root, 'node_modules/.bin/prebuildify'),
  [
    ...['--napi', '--strip', `--strip-bin=${crossPrefix(arch)}strip`, '--tag-libc', `--arch=${arch}`],
    ...['--name=repvgg', `--out=${root}`, `--node-gyp=${shim}`],
  ],
  {
    cwd: stage,
    stdio: 'inherit',
    env: {
      ...process.env,
      PREBUILD_CMAKE: Object.entries(options)
        .map(([name, value]) => `--CD${name}=${value}`)
        .join('\n'),
    },
  },
);
execFileSync('npm', ['run', '--silent', 'build:ts'], {cwd: root, stdio: 'inherit'});
const check = path.join(import.meta.dirname, 'check-prebuild.mjs');
const promises = [
  '--arch',
  arch,
  ...(cpu ? ['--cpu'] : ['--cuda', cuda]),
  ...(values['any-glibc'] ? ['--any-glibc'] : []),
];
execFileSync(process.execPath, [check, ...promises], {cwd: root, stdio: 'inherit'});

function cudaOptions(toolkit) {
  return {
    REPVGG_CUDA_ARCHITECTURES: 'all',
    CMAKE_CUDA_COMPILER: path.join(toolkit, 'bin/nvcc'),
    CUDAToolkit_ROOT: toolkit,
    // CMake requires a runtime library; only the static one is used and has to exist.
    CUDA_CUDART: path.join(toolkit, 'lib64/libcudart_static.a'),
  };
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
