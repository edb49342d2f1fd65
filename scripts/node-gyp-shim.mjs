#!/usr/bin/env node
// Stands in for node-gyp where prebuildify calls it: builds with cmake-js. Of node-gyp's options only the architecture
// means anything here; --target, a Node version there, is a CMake target here. PREBUILD_CMAKE has one option a line.
import {spawnSync} from 'node:child_process';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const arch = process.argv.filter(argument => argument.startsWith('--arch='));
const options = (process.env.PREBUILD_CMAKE ?? '').split('\n').filter(Boolean);
const {status} = spawnSync(
  path.join(root, 'node_modules/.bin/cmake-js'),
  ['compile', '--directory', root, '--out', path.resolve('build'), '--target', 'repvgg', ...arch, ...options],
  {stdio: 'inherit'},
);
process.exit(status ?? 1);
