import {execFile} from 'node:child_process';
import {mkdtemp, readdir, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import type {NetworkDescription} from '../../ts/native/addon.ts';

interface Described extends Pick<NetworkDescription, 'layers'> {
  peakKilobytes: number;
}

const script = fileURLToPath(new URL('describe_network.ts', import.meta.url));

/** What a process of its own chooses for a network of one strided and two other blocks. */
async function describe(folder: string, ...args: string[]): Promise<Described> {
  const {stdout} = await promisify(execFile)(process.execPath, ['--import=tsx', script, ...args], {
    env: {...process.env, REPVGG_CACHE_DIR: folder},
  });
  return JSON.parse(stdout);
}

test('the CPU measures algorithms once, and later processes read what was found', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-test-'));
  t.teardown(() => rm(folder, {recursive: true}));
  const [first, second, third] = (await describe(folder)).layers;
  t.is(first!.source, 'only');
  t.is(second!.source, 'measured');
  t.true(Object.keys(second!.microseconds).length > 1);
  t.is(third!.source, 'cached', 'it has the shape of the one before');
  t.is(third!.algorithm, second!.algorithm);
  for (const {imageMicroseconds} of [first!, second!, third!]) t.true(imageMicroseconds! > 0);

  const again = (await describe(folder)).layers;
  t.deepEqual(again[1]!.microseconds, second!.microseconds);
  t.is(again[1]!.source, 'cached');
  t.is(again[1]!.algorithm, second!.algorithm);

  // A measurement decides, whatever the model says.
  const [file] = await readdir(folder);
  const path = join(folder, file!);
  const slowest = second!.algorithm;
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace(new RegExp(`"${slowest}": [^,}]+`), `"${slowest}": 1e9`));
  const changed = (await describe(folder)).layers[1]!;
  t.is(changed.source, 'cached');
  t.not(changed.algorithm, slowest);

  await writeFile(path, text.slice(0, text.length / 2));
  t.is((await describe(folder)).layers[1]!.source, 'measured', 'half a file is none');
});

test('algorithms are measured with other data in the caches', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-test-'));
  t.teardown(() => rm(folder, {recursive: true}));
  const measuring = (await describe(folder)).peakKilobytes;
  const reading = (await describe(folder)).peakKilobytes;
  // 64 MB are read before each run. Pages that were never written would take no memory, and evict nothing.
  t.true(measuring - reading > 48 * 1024, `${measuring} KB, and ${reading} KB without`);
});

test('an algorithm can be pinned', async t => {
  for (const algorithm of ['direct', 'f2', 'f4x2', 'f4'] as const) {
    const [first, second] = (await describe('', algorithm)).layers;
    t.deepEqual([first!.algorithm, first!.source], ['direct', 'only']);
    t.deepEqual([second!.algorithm, second!.source], [algorithm, 'pinned']);
  }
});

test('networks with gates, which amplify rounding errors, use direct convolution', async t => {
  const layers = (await describe('', '', 'gated')).layers;
  t.deepEqual(
    layers.map(({algorithm, source}) => `${algorithm} ${source}`),
    ['direct only', 'direct pinned', 'direct pinned'],
  );
});
