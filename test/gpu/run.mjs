// node run.mjs RESULTS [--seconds 540] [--only STEP,...]: the tests that need a GPU. Each test is a line of
// RESULTS/tests.jsonl, written as it ends; summary.json counts them and names the kernels that failed. Exit code 2 without
// a GPU, 1 if anything failed. Needs a driver, and beside this file repvgg_gpu_tests (or REPVGG_GPU_TESTS) and the package.
import path from 'node:path';
import {parseArgs} from 'node:util';
import {findDevice, leavingOut, Results, run, runCases} from './steps.mjs';

const {values: given, positionals} = parseArgs({
  options: {seconds: {type: 'string', default: '540'}, only: {type: 'string'}},
  allowPositionals: true,
});
if (positionals.length !== 1) {
  console.error('usage: run RESULTS [--seconds 540] [--only STEP,...]');
  process.exit(1);
}
const results = new Results(positionals[0], Number(given.seconds));
process.env.REPVGG_CACHE_DIR ??= results.file('cache');
const tests = [process.env.REPVGG_GPU_TESTS ?? path.join(import.meta.dirname, 'repvgg_gpu_tests')];
const networks = [process.execPath, path.join(import.meta.dirname, 'networks.mjs')];
const lifetimes = [process.execPath, path.join(import.meta.dirname, 'lifetimes.mjs')];
/** Kernels that hung, broke the device or were wrong: networks run without them. */
const excluded = new Set(given.only ? results.excluded() : []);
if (!given.only) results.clear('tests.jsonl');

const add = line => results.add('tests.jsonl', line);
const ofEach = name => ['fp32', 'fp16', 'bf16', 'tf32', 'fp8'].map(precision => `${name}: ${precision}`);
const cases = (program, filters, limits) => runCases(results, program, filters, {...limits, excluded});

const small = ['small layers', 'stem', 'head: '];

/** The instructions first, then each kernel on small layers, so that one that hangs or is wrong is found within seconds. */
const steps = {
  // The first process to use a GPU waits for it to wake up.
  wrappers: () => cases(tests, ['wrappers'], {seconds: 90, stallSeconds: 25}),
  small: () => cases(tests, small, {seconds: 90, stallSeconds: 15}),
  // References are computed on the CPU: one process for each precision.
  convolutions: () =>
    Promise.all(ofEach('convolutions').map(name => cases(tests, [name], {seconds: 240, stallSeconds: 30}))),
  networks: () => cases(networks, [], {seconds: 240, stallSeconds: 60}),
  lifetimes: () => cases(lifetimes, [], {seconds: 120, stallSeconds: 70}),
  // Alone: it counts the device's memory.
  memory: () => cases(tests, ['memory'], {seconds: 120, stallSeconds: 90}),
  memcheck: () => sanitize('memcheck'),
  racecheck: () => sanitize('racecheck'),
};

/** It slows kernels down so much that it need not come to the end: what it has found until then counts. */
async function sanitize(tool) {
  const seconds = 90;
  let found = '';
  const command = ['compute-sanitizer', '--tool', tool, '--error-exitcode', '9'];
  const {problem} = await run(results, [...command, ...tests, ...small, 'wrappers'], {
    env: leavingOut([...excluded]),
    seconds,
    onLine(line) {
      results.log(line);
      if (/^========= (?!COMPUTE-SANITIZER|.*SUMMARY: 0 |\s)/.test(line)) found ||= line.replace(/^=+ /, '');
    },
  });
  if (problem.startsWith('does not start') || problem === 'no time left') return;
  const ok = found === '' && (problem === '' || problem.startsWith('took longer'));
  add({name: `compute-sanitizer ${tool}`, ok, ms: 0, detail: found || problem});
}

function summarise() {
  const latest = new Map(results.read('tests.jsonl').map(line => [line.name, line]));
  const lines = [...latest.values()];
  const failed = lines.filter(({ok}) => !ok);
  const counts = {passed: lines.length - failed.length, failed: failed.length};
  results.write('summary.json', {...counts, device: true, excluded: [...excluded]});
  return {...counts, lines: failed};
}

if (!(await findDevice(results))) {
  results.write('summary.json', {passed: 0, failed: 0, device: false, excluded: []});
  process.exit(2);
}
for (const name of given.only?.split(',') ?? Object.keys(steps)) {
  const start = performance.now();
  await steps[name]();
  const {passed, failed} = summarise();
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${name}: ${seconds} s, so far ${passed} passed and ${failed} failed`);
}
const {passed, failed, lines} = summarise();
for (const {name, detail} of lines) console.log(`FAILED ${name}: ${detail}`);
if (excluded.size > 0) console.log(`kernels that failed: ${[...excluded].join(', ')}`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
