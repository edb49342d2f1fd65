#!/usr/bin/env node
// Called by prebuildify in place of node-gyp; builds with cmake-js. Only the architecture is passed on, because --target is a Node version
// for node-gyp and a CMake target for cmake-js. PREBUILD_CMAKE has one CMake option per line.
import {spawnSync} from 'node:child_process';
import {rmSync} from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const arch = process.argv.filter(argument => argument.startsWith('--arch='));
const options = (process.env.PREBUILD_CMAKE ?? '').split('\n').filter(Boolean);
// Without a cache, "build" configures with the current options. "compile" would rebuild everything after a failure.
rmSync('build/CMakeCache.txt', {force: true});
const {status} = spawnSync(
  path.join(root, 'node_modules/.bin/cmake-js'),
  ['build', '--directory', root, '--out', path.resolve('build'), '--target', 'repvgg', ...arch, ...options],
  {stdio: 'inherit'},
);
process.exit(status ?? 1);
