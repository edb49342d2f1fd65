// node bench.mjs RESULTS [--seconds 540] [--only NAME,...] [--list]: what to measure on a GPU, the most important first. Each
// step is a line of RESULTS/bench.jsonl, written as it ends; one that went well in an earlier call is not repeated, so that
// calls of a few minutes add up. Kernels that the tests found not to work (RESULTS/summary.json) are left out. PyTorch is
// measured beside us where REPVGG_PYTHON, or python3, has it.
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs} from 'node:util';
import {findDevice, leavingOut, Results, run} from './steps.mjs';

const {values: given, positionals} = parseArgs({
  options: {seconds: {type: 'string', default: '540'}, only: {type: 'string'}, list: {type: 'boolean'}},
  allowPositionals: true,
});
const here = import.meta.dirname;
const tests = process.env.REPVGG_GPU_TESTS ?? path.join(here, 'repvgg_gpu_tests');
const repvgg = [process.execPath, path.join(here, '..', '..', 'dist', 'cli', 'main.js')];
const python = process.env.REPVGG_PYTHON ?? 'python3';

/** Step of `repvgg bench`: its report is in the line. `without` is a list of kernels that it leaves out. */
const bench = (name, precision, models, batch, more = [], {seconds = 60, env, without} = {}) => ({
  name,
  seconds,
  env,
  without,
  peers: more.includes('--peers'),
  command: [
    ...repvgg,
    ...['bench', '--json', '--device', 'cuda', '--seconds', '0.5', '--stage', 'engine'],
    ...['--precision', precision, '--models', models, '--batch', batch],
    ...['--output', path.join(tmpdir(), 'repvgg-gpu-bench'), ...more],
  ],
});
const peers = ['--peers', 'pytorch'];
const compiled = ['--peers', 'pytorch-compile'];
const layers = (precision, model) => ({
  name: `layers ${precision} ${model}`,
  seconds: 60,
  command: [
    ...[...repvgg, 'info', model, '--layers', '--device', 'cuda', '--precision', precision],
    ...['--batch-size', '128', '--json'],
  ],
});
const dense = ['A0', 'A1', 'A2', 'B0', 'B1', 'B2', 'B3'];
const grouped = ['B1g2', 'B1g4', 'B2g2', 'B2g4', 'B3g2', 'B3g4'];
const few = ['A0', 'A2', 'B1', 'B1g4', 'B3'];
const paper = ['A2', 'B1', 'B3'];

const steps = [
  {name: 'doctor', seconds: 30, command: [...repvgg, 'doctor', '--json']},
  {name: 'limits', seconds: 30, command: [tests, 'roofline'], env: {REPVGG_ROOFLINE: 'none'}},
  ...[...dense, ...grouped].map(model => bench(`fp16 ${model}`, 'fp16', model, '128')),
  {name: 'pytorch', seconds: 90, command: [python, '-c', 'import torch; assert torch.cuda.is_available()']},
  ...[...few, ...dense, ...grouped]
    .filter((model, i, all) => all.indexOf(model) === i)
    .map(model => bench(`fp16 ${model} beside PyTorch`, 'fp16', model, '128', peers, {seconds: 120})),
  ...paper.map(model => bench(`fp32 ${model}`, 'fp32', model, '128')),
  bench('fp16, latency', 'fp16', few.join(), '1,8', [], {seconds: 120}),
  ...few.map(model => bench(`fp8 ${model}`, 'fp8', model, '128')),
  ...few.map(model => layers('fp16', model)),
  ...paper.map(model => layers('fp8', model)),
  ...paper.map(model => layers('fp32', model)),
  {
    name: 'roofline',
    seconds: 120,
    command: [tests, 'roofline'],
    env: {REPVGG_ROOFLINE: process.env.REPVGG_ROOFLINE ?? few.join()},
  },
  ...['fp16', 'fp8'].map(precision =>
    bench(`${precision} without multicast`, precision, few.join(), '128', [], {
      seconds: 120,
      without: 'sm90a multicast,f2 chain sm90a multicast,f4 chain sm90a multicast',
    }),
  ),
  bench('fp16 without overlap', 'fp16', few.join(), '128', [], {seconds: 120, env: {REPVGG_OVERLAP: 'off'}}),
  bench('fp16, latency without sums in clusters', 'fp16', few.join(), '1', [], {
    seconds: 120,
    without: 'sm90a cluster',
  }),
  ...few.map(model =>
    bench(`fp16 ${model} beside torch.compile`, 'fp16', model, '128', compiled, {seconds: 300}),
  ),
  ...few.map(model => bench(`fp16 ${model}, batch 256`, 'fp16', model, '256', peers, {seconds: 120})),
  ...['fp16', 'fp32'].flatMap(precision =>
    ['direct', 'f2', 'f4'].map(algorithm =>
      bench(`${precision}, ${algorithm}`, precision, paper.join(), '128', [], {
        seconds: 120,
        env: {REPVGG_ALGORITHM: algorithm},
      }),
    ),
  ),
  bench('fp16, fused', 'fp16', dense.join(), '128', [], {seconds: 120, env: {REPVGG_ALGORITHM: 'fused'}}),
  ...['bf16', 'tf32', 'fp32'].map(precision =>
    bench(`${precision} beside PyTorch`, precision, few.join(), '128', peers, {seconds: 240}),
  ),
  bench('fp16, small batches', 'fp16', few.join(), '1,8,32', peers, {seconds: 300}),
  bench('pipeline', 'fp16', 'A0,A2', '128', ['--stage', 'pipeline,decode,preprocess'], {seconds: 90}),
];

if (given.list) {
  for (const {name} of steps) console.log(name);
  process.exit(0);
}
if (positionals.length !== 1) {
  console.error('usage: bench RESULTS [--seconds 540] [--only NAME,...] [--list]');
  process.exit(1);
}
const results = new Results(positionals[0], Number(given.seconds));
process.env.REPVGG_CACHE_DIR ??= results.file('cache');
const excluded = process.env.REPVGG_EXCLUDE?.split(',') ?? results.excluded();
if (!(await findDevice(results))) process.exit(2);
const only = given.only?.split(',');
const done = new Set(results.read('bench.jsonl').flatMap(({name, ok}) => (ok ? [name] : [])));

/** What a program printed: one object, or one on each line. */
function parse(lines) {
  try {
    return JSON.parse(lines.join('\n'));
  } catch {
    return lines.flatMap(line => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    });
  }
}

/** The medians of a report, to be read while the next step runs. */
function brief(output) {
  const rates = output?.results?.map(
    ({runner, model, batch, imagesPerSecond, ratio}) =>
      `${model ?? ''} ${runner} x${batch}: ${imagesPerSecond.median.toFixed(0)}${ratio ? ` (${ratio.median.toFixed(2)})` : ''}`,
  );
  return rates?.join(', ') ?? '';
}

let failed = false;
let withPeers = done.has('pytorch');
for (const {name, command, seconds, env, without, peers: needsPeers} of steps) {
  if (only ? !only.includes(name) : done.has(name)) continue;
  if (needsPeers && !withPeers) continue;
  const start = performance.now();
  const lines = [];
  const {problem} = await run(results, command, {
    env: {...leavingOut([...excluded, without].filter(Boolean)), ...env},
    seconds,
    onLine: line => lines.push(line),
  });
  if (problem === 'no time left') {
    console.log(`no time left for "${name}" and what follows`);
    break;
  }
  const took = Math.round((performance.now() - start) / 100) / 10;
  const output = parse(lines);
  results.add('bench.jsonl', {name, ok: problem === '', seconds: took, problem, output});
  if (name === 'pytorch') withPeers = problem === '';
  else failed ||= problem !== '';
  console.log(`${name}: ${took} s${problem ? `, ${problem}` : ''}  ${brief(output)}`);
}
process.exitCode = failed ? 1 : 0;
