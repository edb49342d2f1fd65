// What runs on a GPU must go on when a kernel hangs, crashes, breaks the device or is wrong. A program of a few lines stands
// for repvgg_gpu_tests.
import {spawnSync} from 'node:child_process';
import {chmodSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {temporaryFolder} from '../folder.ts';
import {Results, run, runCases} from './steps.mjs';

const scripts = import.meta.dirname;

/** A process of Node takes a second or two to start on a busy machine. */
const stallSeconds = 5;

interface Line {
  name: string;
  ok: boolean;
  detail: string;
}

/** Three cases of some kernels; `body` runs for each kernel of each case, "none" before them, and may end the case as failed. */
async function program(t: ExecutionContext, body: string, kernels: readonly string[]): Promise<string> {
  const file = path.join(await temporaryFolder(t), 'tests.mjs');
  writeFileSync(
    file,
    `#!${process.execPath}
import {spawn} from 'node:child_process';
const names = ['case 1', 'case 2', 'case 3'];
const {argv, env} = process;
if (argv.includes('--list')) {
  for (const name of names) console.log(JSON.stringify(name));
  process.exit(0);
}
const say = line => console.log(JSON.stringify(line));
for (const name of names.slice(argv.includes('--from') ? names.indexOf(argv[argv.indexOf('--from') + 1]) : 0)) {
  let ok = true;
  for (const kernel of ${JSON.stringify(['none', ...kernels])}) {
    if (env.REPVGG_EXCLUDE.split(',').some(begins => begins && kernel.startsWith(begins))) continue;
    if (kernel !== 'none') say({running: kernel});
    ${body}
  }
  say({name, ok, ms: 0, detail: ''});
}
`,
  );
  chmodSync(file, 0o755);
  return file;
}

async function outcome(t: ExecutionContext, body: string, seconds = 60, kernels = ['a', 'b', 'c', 'd']) {
  const results = new Results(await temporaryFolder(t), 60);
  const excluded = new Set<string>();
  await runCases(results, [await program(t, body, kernels)], ['case'], {seconds, stallSeconds, excluded});
  const lines = results.read('tests.jsonl') as unknown as Line[];
  return {
    excluded: [...excluded],
    passed: lines.filter(({ok}) => ok).map(({name}) => name),
    failed: lines.filter(({ok}) => !ok).map(({name, detail}) => `${name}: ${detail}`),
  };
}

const all = ['case 1', 'case 2', 'case 3'];

test('all cases run in one process', async t => {
  t.deepEqual(await outcome(t, ''), {excluded: [], passed: all, failed: []});
});

test('a kernel that does not end is named, and the others run without it', async t => {
  t.deepEqual(await outcome(t, `if (name === 'case 2' && kernel === 'c') for (;;);`), {
    excluded: ['c'],
    passed: all,
    failed: ['case 2, c: printed nothing for 5 s'],
  });
});

test('a kernel that crashes is named, and so is one that breaks the device', async t => {
  const body = `
    if (name === 'case 1' && kernel === 'b') process.kill(process.pid, 'SIGSEGV');
    if (name === 'case 3' && kernel === 'd') {
      say({fatal: 'the GPU failed'});
      process.exit(3);
    }`;
  t.deepEqual(await outcome(t, body), {
    excluded: ['b', 'd'],
    passed: all,
    failed: ['case 1, b: ended with SIGSEGV', 'case 3, d: the GPU failed'],
  });
});

test('a family of kernels that end their process one after the other is left out', async t => {
  const body = `if (kernel.startsWith('x chain')) process.kill(process.pid, 'SIGSEGV');`;
  const kernels = ['x 64x64', ...[1, 2, 3, 4, 5].map(size => `x chain ${size}x64`), 'y 64x64'];
  const {excluded, passed, failed} = await outcome(t, body, 60, kernels);
  t.deepEqual(excluded, ['x chain 1x64', 'x chain 2x64', 'x chain 3x64', 'x chain']);
  t.deepEqual(passed, all);
  t.is(failed.length, 3);
});

test('a program in which starting kernels early hung runs without it', async t => {
  const body = `
    if (kernel === 'none' && env.REPVGG_OVERLAP !== 'off') {
      say({running: 'overlap'});
      process.kill(process.pid, 'SIGSEGV');
    }`;
  t.deepEqual(await outcome(t, body), {
    excluded: ['overlap'],
    passed: all,
    failed: ['case 1, overlap: ended with SIGSEGV'],
  });
});

test('a kernel that is wrong does not end its process', async t => {
  const body = `if (name === 'case 1' && kernel === 'a') { ok = false; say({wrong: kernel}); }`;
  t.deepEqual(await outcome(t, body), {
    excluded: ['a'],
    passed: ['case 2', 'case 3'],
    failed: ['case 1: '],
  });
});

test('a case that fails in no kernel is left behind', async t => {
  const body = `if (name === 'case 2') process.exit(1);`;
  t.deepEqual(await outcome(t, body), {
    excluded: [],
    passed: ['case 1', 'case 3'],
    failed: ['case 2: ended with exit code 1'],
  });
});

test('a budget that is spent says which cases did not run', async t => {
  const body = `
    if (name === 'case 2' && kernel === 'b') {
      for (const end = Date.now() + 60_000; Date.now() < end; ) {
        say({running: kernel});
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      }
    }`;
  const {excluded, passed, failed} = await outcome(t, body, 8);
  t.deepEqual(passed, ['case 1']);
  t.deepEqual(excluded, []);
  t.is(failed.length, 1);
  t.regex(failed[0]!, /^2 cases from "case 2" on: not run: took longer than \d s$/);
});

test('what a program has started ends with it', async t => {
  const results = new Results(await temporaryFolder(t), 60);
  const sleeper = `require('node:child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], {stdio: 'inherit'})`;
  const start = performance.now();
  const {problem} = await run(results, [process.execPath, '-e', sleeper], {seconds: 1});
  t.is(problem, 'took longer than 1 s');
  t.true(performance.now() - start < 30_000);
});

test('without a GPU the tests say so', async t => {
  const results = await temporaryFolder(t);
  const {status, stdout} = spawnSync(process.execPath, [path.join(scripts, 'run.mjs'), results], {
    env: {...process.env, CUDA_VISIBLE_DEVICES: ''},
    encoding: 'utf8',
  });
  t.regex(stdout, /^no CUDA device: /);
  t.is(status, 2);
});
