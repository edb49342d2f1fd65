import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {testWithJpeg} from '../where.ts';

interface Waits {
  alone: number;
  waiting: number;
  calls: number;
}

async function measure(format: 'jpeg' | 'png', poolThreads: number): Promise<Waits> {
  const script = fileURLToPath(new URL('fs_while_decoding.ts', import.meta.url));
  const env = {...process.env, UV_THREADPOOL_SIZE: String(poolThreads)};
  const {stdout} = await promisify(execFile)(process.execPath, ['--import=tsx', script, format], {env});
  return JSON.parse(stdout) as Waits;
}

// File calls that wait in the pool behind decoders do so most of the time, each for about as long as an image takes or
// longer; on a machine that others use, other things delay some of them.
async function quickest(format: 'jpeg' | 'png', poolThreads: number): Promise<Waits[]> {
  const runs: Waits[] = [];
  while (runs.length < 3 && !runs.some(isQuick)) runs.push(await measure(format, poolThreads));
  return runs;
}

const isQuick = ({waiting}: Waits): boolean => waiting < 0.4;

testWithJpeg.serial(
  'while JPEGs are decoded, files are read at once even with a single thread in the libuv pool',
  async t => {
    const runs = await quickest('jpeg', 1);
    t.log(runs);
    t.true(runs.some(isQuick));
  },
);

test.serial('while PNGs are decoded, sharp leaves half of the libuv pool to files', async t => {
  const runs = await quickest('png', 4);
  t.log(runs);
  t.true(runs.some(isQuick));
});
