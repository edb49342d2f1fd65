#!/usr/bin/env node
// Stands in for node-gyp where prebuildify calls it: builds with cmake-js. Of node-gyp's options only the architecture
// means anything here; --target, a Node version there, is a CMake target here. PREBUILD_CMAKE has one option a line.
import {spawnSync} from 'node:child_process';
import {rmSync} from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const arch = process.argv.filter(argument => argument.startsWith('--arch='));
const options = (process.env.PREBUILD_CMAKE ?? '').split('\n').filter(Boolean);
// Without it "build" configures again, with the options of now. Not "compile": after a failure it would build all once more.
rmSync('build/CMakeCache.txt', {force: true});
const {status} = spawnSync(
  path.join(root, 'node_modules/.bin/cmake-js'),
  ['build', '--directory', root, '--out', path.resolve('build'), '--target', 'repvgg', ...arch, ...options],
  {stdio: 'inherit'},
);
process.exit(status ?? 1);
