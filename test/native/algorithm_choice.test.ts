import {execFile} from 'node:child_process';
import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {winogradClasses} from '../../ts/native/addon.ts';
import {temporaryFolder} from '../folder.ts';
import {relativeL2} from '../reference64.ts';
import {testWithBf16} from '../where.ts';
import type {Outcome, Way} from './describe_network.ts';

const script = fileURLToPath(new URL('describe_network.ts', import.meta.url));
const algorithms = ['direct', 'f2', 'f4x2', 'f4'] as const;

/** What a process of its own makes of a network of one strided and two other blocks, in each of these ways. */
async function describe(folder: string, ...ways: Way[]): Promise<Outcome[]> {
  const {stdout} = await promisify(execFile)(
    process.execPath,
    ['--import=tsx', script, JSON.stringify(ways)],
    {env: {...process.env, REPVGG_CACHE_DIR: folder}},
  );
  return JSON.parse(stdout);
}

/** The second block, the first of those that have a choice. */
const second = ({layers}: Outcome) => layers[1]!;

const peakKilobytes = async (folder: string): Promise<number> =>
  (await describe(folder, {}))[0]!.peakKilobytes;

test('the CPU measures algorithms once, and later processes read what was found', async t => {
  const folder = await temporaryFolder(t);
  const [{layers}] = (await describe(folder, {})) as [Outcome];
  const [first, measured, third] = layers;
  t.is(first!.source, 'only');
  t.is(measured!.source, 'measured');
  t.true(Object.keys(measured!.microseconds).length > 1);
  t.is(third!.source, 'cached', 'it has the shape of the one before');
  t.is(third!.algorithm, measured!.algorithm);
  for (const {imageMicroseconds} of layers) t.true(imageMicroseconds! > 0);

  const again = second((await describe(folder, {}))[0]!);
  t.deepEqual(again.microseconds, measured!.microseconds);
  t.is(again.source, 'cached');
  t.is(again.algorithm, measured!.algorithm);

  const [file] = await readdir(folder);
  const path = join(folder, file!);
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.slice(0, text.length / 2));
  t.is(second((await describe(folder, {}))[0]!).source, 'measured', 'half a file is none');

  // One that ends within the last number: what is left of it may be much less.
  await writeFile(path, text.slice(0, text.lastIndexOf('}\n}}') - 1));
  t.is(second((await describe(folder, {}))[0]!).source, 'measured', 'part of a number is none');
});

test('algorithms are measured with other data in the caches', async t => {
  const folder = await temporaryFolder(t);
  const [measuring, reading] = [await peakKilobytes(folder), await peakKilobytes(folder)];
  // 64 MB are read before each run. Pages that were never written would take no memory, and evict nothing.
  t.true(measuring - reading > 48 * 1024, `${measuring} KB, and ${reading} KB without`);
});

test('an algorithm can be pinned, whatever the options allow, and is then the one that runs', async t => {
  const outcomes = await describe(
    '',
    ...algorithms.map(algorithm => ({algorithm})),
    ...algorithms.map(algorithm => ({algorithm, winograd: 'off' as const, isGated: true})),
  );
  for (const [i, outcome] of outcomes.entries()) {
    const [first] = outcome.layers;
    t.deepEqual([first!.algorithm, first!.source], ['direct', 'only']);
    t.like(second(outcome), {algorithm: algorithms[i % 4], source: 'pinned'});
  }
  // Each rounds differently, a little.
  for (const some of [outcomes.slice(0, 4), outcomes.slice(4)]) {
    t.is(new Set(some.map(({embedding}) => embedding.join())).size, 4);
    const [direct, ...others] = some.map(({embedding}) => Float64Array.from(embedding));
    for (const other of others) t.true(relativeL2(other, direct!) < 4e-6);
  }
});

/** What each value of `winograd` must choose, given the time of each algorithm. */
const rules = [
  {
    times: {direct: 4, f2: 3, f4x2: 2, f4: 1},
    plain: {auto: 'f4', off: 'direct', f2: 'f2', f4: 'f4'},
    gated: {auto: 'f2', off: 'direct', f2: 'f2', f4: 'f4'},
  },
  {
    times: {direct: 4, f2: 3, f4x2: 1, f4: 2},
    plain: {auto: 'f4x2', off: 'direct', f2: 'f2', f4: 'f4x2'},
    gated: {auto: 'f2', off: 'direct', f2: 'f2', f4: 'f4x2'},
  },
  {
    times: {direct: 1, f2: 2, f4x2: 2, f4: 2},
    plain: {auto: 'direct', off: 'direct', f2: 'direct', f4: 'direct'},
    gated: {auto: 'direct', off: 'direct', f2: 'direct', f4: 'direct'},
  },
] as const;

for (const {times, plain, gated} of rules) {
  test(`the fastest that each value of winograd allows is used: ${JSON.stringify(times)}`, async t => {
    const folder = await temporaryFolder(t);
    const [unchanged] = await describe(folder, {});
    t.deepEqual(Object.keys(second(unchanged!).microseconds).sort(), [...algorithms].sort());
    const [file] = await readdir(folder);
    const path = join(folder, file!);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(/\{"[^{}]*\}/, JSON.stringify(times).replaceAll(':', ': ')));

    const cases = winogradClasses.flatMap(winograd => [
      {winograd, isGated: false, algorithm: plain[winograd]},
      {winograd, isGated: true, algorithm: gated[winograd]},
    ]);
    const chosen = cases.map(({winograd, isGated}): Way => ({winograd, isGated}));
    const pinned = cases.map(({algorithm, isGated}): Way => ({algorithm, isGated}));
    const outcomes = await describe(folder, ...chosen, ...pinned);
    for (const [i, {winograd, isGated, algorithm}] of cases.entries()) {
      const name = `${winograd}${isGated ? ', gated' : ''}`;
      const source = winograd === 'off' ? 'only' : 'cached';
      t.like(second(outcomes[i]!), {algorithm, source}, name);
      t.deepEqual(outcomes[i]!.embedding, outcomes[i + cases.length]!.embedding, name);
    }
  });
}

testWithBf16('bf16 on the CPU is direct, whatever is allowed', async t => {
  const ways = ([undefined, 'auto', 'off', 'f2', 'f4'] as const).map(
    (winograd): Way => ({precision: 'bf16', ...(winograd && {winograd})}),
  );
  const outcomes = await describe('', ...ways);
  for (const outcome of outcomes) {
    t.like(second(outcome), {algorithm: 'direct', source: 'only'});
    t.deepEqual(outcome.embedding, outcomes[0]!.embedding);
  }
});
