// CONTRIBUTING.md lists the parts of ts/ from the top down, and says that none uses what is above it.
import {readdirSync, readFileSync} from 'node:fs';
import path from 'node:path';
import test from 'ava';
import {readPage} from './blocks.ts';

const sources = path.resolve(import.meta.dirname, '../../ts');
const table = readPage('CONTRIBUTING.md').split('In `ts/`, each line').at(-1)!.split('\n\n')[1]!;
const layers = table
  .split('\n')
  .slice(2)
  .map(row => Array.from(row.split('|')[1]!.matchAll(/`(.+?)`/g), ([, part]) => part!));

function layerOf(file: string): number {
  const part = file.replace(/\/.*/, '/');
  const found = layers.findIndex(parts => parts.includes(part));
  if (found < 0) throw new Error(`CONTRIBUTING.md has no line for ts/${part}`);
  return found;
}

test('every part of ts/ uses only those of its own line and below', t => {
  const files = readdirSync(sources, {recursive: true, encoding: 'utf8'}).filter(file =>
    file.endsWith('.ts'),
  );
  const upward: string[] = [];
  let count = 0;
  for (const file of files) {
    const text = readFileSync(path.join(sources, file), 'utf8');
    for (const [, specifier] of text.matchAll(/(?:from |import\()'(\..+?)'/g)) {
      const used = path.join(path.dirname(file), specifier!);
      if (layerOf(used) < layerOf(file)) upward.push(`${file} uses ${used}`);
      count++;
    }
  }
  t.deepEqual(upward, []);
  t.true(count > 500);
});

test('the folders of C++ include only what is below them', t => {
  const root = path.dirname(sources);
  const below = {binding: ['engine'], engine: [], cpu: ['engine'], cuda: ['engine']} as const;
  // The first names the backends, the second takes the place of one; the emulator takes the place of CUDA.
  const exceptions =
    /^engine\/(registry|no_cuda)\.cc includes c(pu|uda)\/|^cuda\/.* includes test\/emulator\/\w+_emulated/;
  for (const [folder, others] of Object.entries(below)) {
    const files = readdirSync(path.join(root, folder)).filter(file => /\.(cc|cuh?|h)$/.test(file));
    t.true(files.length > 10);
    for (const file of files) {
      const text = readFileSync(path.join(root, folder, file), 'utf8');
      for (const [, included] of text.matchAll(/^#include "(.+)"/gm)) {
        const line = `${folder}/${file} includes ${included}`;
        t.true(
          [folder, ...others].some(one => included!.startsWith(`${one}/`)) || exceptions.test(line),
          line,
        );
      }
    }
  }
});

test('the list has nothing that is not there', t => {
  const there = readdirSync(sources, {withFileTypes: true}).map(
    one => `${one.name}${one.isDirectory() ? '/' : ''}`,
  );
  t.deepEqual(layers.flat().toSorted(), there.toSorted());
});
