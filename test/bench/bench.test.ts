import {readFileSync} from 'node:fs';
import {mkdir, readdir, readFile, writeFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {Ajv2020} from 'ajv/dist/2020.js';
import test from 'ava';
import {architectureByName} from '../../ts/architecture.ts';
import {type Plan, planBench} from '../../ts/bench/cases.ts';
import type {BenchReport} from '../../ts/bench/results.ts';
import {runBench} from '../../ts/bench/run.ts';
import {type Precision, precisions} from '../../ts/native/device.ts';
import {layerTable} from '../../ts/statistics.ts';
import {finish, repvgg, start, temporaryFolder} from '../cli/run.ts';
import {fullReport, reportOf, result} from './results.ts';

const schemaPath = new URL('../../docs/bench-results.schema.json', import.meta.url);
const validate = new Ajv2020().compile(JSON.parse(readFileSync(schemaPath, 'utf8')));

const engineOfA0 = ['bench', '--models', 'A0', '--batch', '1', '--stage', 'engine'];

test('a run prints results that follow the schema, and writes them with a report', async t => {
  const folder = await temporaryFolder(t);
  // What is named twice is measured once.
  const network = ['--models', 'A0,RepVGG-A0', '--batch', '1,2,2'];
  const args = ['bench', ...network, '--seconds', '0.1', '--threads', '1', '--json'];
  const {code, stdout, stderr} = await repvgg(args, {cwd: folder, timeout: 110_000});
  t.is(code, 0, stderr);
  const report = JSON.parse(stdout) as BenchReport;
  t.true(validate(report), JSON.stringify(validate.errors));
  t.deepEqual(JSON.parse(await readFile(join(folder, 'repvgg-bench/results.json'), 'utf8')), report);
  const cases = report.results.map(({model, stage, batch}) => `${model} ${stage} ${batch}`);
  t.deepEqual(cases, [
    'null decode 1',
    'null preprocess 1',
    'RepVGG-A0 engine 1',
    'RepVGG-A0 engine 2',
    'RepVGG-A0 pipeline 2',
  ]);
  const one = report.results[3]!; // Batch 2.
  const {median} = one.imagesPerSecond;
  t.true(Math.abs(one.latencyMs * median - 2000) < 1e-6);
  const latencies = report.results.map(result => result.latencyPercentilesMs!);
  t.deepEqual(latencies.slice(0, 2), [null, null]);
  for (const [i, {p50, runs}] of latencies.slice(2).entries()) {
    // Beside the median rate: on a busy machine they differ by a factor, wrong units by a thousand.
    const factor = p50 / report.results[i + 2]!.latencyMs;
    t.true(runs >= 3 && factor > 0.1 && factor < 10, `${runs}, ${factor}`);
  }
  t.true(Math.abs(one.effectiveTflops! / (2 * 1.361451008e-3 * median) - 1) < 1e-9);
  t.true(one.fractionOfPeak! > 0.001 && one.fractionOfPeak! < 10, `${one.fractionOfPeak}`);
  const instructions = one.instructionsPerImage;
  // A vector has no more than 16 products of fp32.
  if (instructions) t.true(instructions.min > 1.361451008e9 / 4 / 16, `${instructions.min}`);
  // Winograd needs fewer multiplications than are counted, by up to four.
  const {median: fraction, runs} = one.cpuTimeFraction!;
  t.true(fraction > 0.05 && fraction < 4 && runs === one.imagesPerSecond.runs, `${fraction}, ${runs}`);
  t.regex(await readFile(join(folder, 'repvgg-bench/report.html'), 'utf8'), /<svg/);
});

test('what is named and is not there leaves no folder behind', async t => {
  const folder = await temporaryFolder(t);
  for (const args of [
    ['--models', 'A0,A9'],
    ['--peers', 'tensorflow'],
    ['--device', 'cuda:99'],
  ]) {
    const {code, stderr} = await repvgg(['bench', ...args], {cwd: folder});
    t.true(code === 2 || code === 3, stderr);
    t.deepEqual(await readdir(folder), []);
  }
});

test('layers are reported beside their rooflines', async t => {
  const folder = await temporaryFolder(t);
  const args = [...engineOfA0, '--seconds', '0.1', '--layers'];
  const {code, stdout, stderr} = await repvgg([...args, '--json'], {cwd: folder});
  t.is(code, 0, stderr);
  const report = JSON.parse(stdout) as BenchReport;
  t.true(validate(report), JSON.stringify(validate.errors));
  const [network] = report.layers!;
  t.is(network!.layers.length, 22);
  const macs = layerTable(architectureByName('RepVGG-A0'), {height: 224, width: 224}).layers;
  for (const [i, layer] of network!.layers.entries()) {
    t.true(layer.microseconds! > 0, layer.name);
    const pairs = layer.inChannels * layer.outChannels;
    // 14 pixels are three tiles of six and a narrow one of four; 56 and 28 are whole tiles.
    const along = layer.height === 14 ? 22 : (6 * layer.height) / 4;
    const winograd = pairs * along ** 2;
    if (layer.algorithm === 'f4') t.is(layer.products, winograd);
    if (layer.algorithm === 'direct') t.is(layer.products, macs[i]!.macs);
    t.is(layer.reached, layer.leastMicroseconds! / layer.microseconds!);
  }
  // The layers are most of the time of an image. Theirs is an average over the whole run, warm-up included, beside medians of
  // short rounds: on a busy machine they differ by a factor, wrong units by a thousand.
  const sum = network!.layers.reduce((total, {microseconds}) => total + microseconds!, 0);
  const {min, max} = report.results[0]!.imagesPerSecond;
  t.true(sum > 0.1e6 / max && sum < 10e6 / min, `${sum} of ${1e6 / max} to ${1e6 / min}`);
  t.regex(await readFile(join(folder, 'repvgg-bench/report.html'), 'utf8'), /Layers: RepVGG-A0 on cpu/);
  const table = await repvgg(args, {cwd: folder});
  t.regex(table.stdout, /stage1\.0 +48 -> 48 +2 +1 +56x56 +direct/);
});

test('fp8 that is simulated is held against the arithmetic that simulates it', async t => {
  const report = await measureA0('fp8-simulated');
  t.true(validate(report), JSON.stringify(validate.errors));
  const {effectiveTflops, fractionOfPeak} = report.results[0]!;
  // Peaks of the rounds and of the whole run differ by noise, those of multiply-adds and of tiles by more than ten.
  const factor = fractionOfPeak! / ((1000 * effectiveTflops!) / report.limits.fmaGflops);
  t.true(factor > 1 / 4 && factor < 4, `${factor}`);
});

test('the schema refuses what is no result', t => {
  t.true(validate(fullReport()), JSON.stringify(validate.errors));
  const wrong = fullReport();
  (wrong.results[0] as {stage: string}).stage = 'training';
  t.false(validate(wrong));
  t.false(validate({...fullReport(), limits: undefined}));
  for (const precision of precisions.filter(name => name !== 'auto'))
    t.true(validate(reportOf([result(100, {precision})])), precision);
  const standing = fullReport();
  standing.results[0]!.imagesPerSecond.median = 0;
  t.false(validate(standing));
});

test('what was asked for and cannot be had is said', async t => {
  const folder = await temporaryFolder(t);
  const args = ['bench', '--models', 'A0', '--batch', '1', '--stage', 'engine', '--seconds', '0.05'];
  const env = {REPVGG_PYTHON: '', PATH: folder};
  const {code, stdout} = await repvgg([...args, '--peers', 'pytorch'], {cwd: folder, env});
  t.is(code, 0);
  t.regex(stdout, /skipped pytorch: python3 does not start .*REPVGG_PYTHON/);
  const unknown = await repvgg([...args, '--peers', 'tensorflow'], {cwd: folder});
  t.is(unknown.code, 2);
  t.regex(unknown.stderr, /onnxruntime-node, transformers, pytorch/);
});

test('the train form runs alone', async t => {
  const folder = await temporaryFolder(t);
  const args = ['bench', '--models', 'A0', '--batch', '1', '--seconds', '0.05', '--form', 'train', '--peers'];
  const {code, stdout} = await repvgg([...args, '--json'], {cwd: folder});
  t.is(code, 0);
  const {results, skipped} = JSON.parse(stdout) as BenchReport;
  t.deepEqual(
    results.map(({runner, stage, form}) => `${runner} ${stage} ${form}`),
    ['repvgg decode deploy', 'repvgg preprocess deploy', 'repvgg engine train'],
  );
  t.is(skipped.length, 2);
});

test('a folder that cannot be written to is refused before anything is measured', async t => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'file'), '');
  await mkdir(join(folder, 'taken/report.html'), {recursive: true});
  for (const output of ['file', 'file/below', 'taken']) {
    // It would take longer than the command may.
    const args = ['bench', '--output', output, '--seconds', '300'];
    const {code, stdout, stderr} = await repvgg(args, {cwd: folder, timeout: 100_000});
    t.is(code, 3, stderr);
    t.is(stdout, '');
    t.regex(stderr, /^repvgg: Cannot write .*\(ERR_FILE_WRITE\)\n$/);
  }
});

test('what was measured is printed even where it cannot be written', async t => {
  const folder = await temporaryFolder(t);
  const args = [...engineOfA0, '--seconds', '0.05', '--json'];
  const {code, stdout, stderr} = await repvgg(args, {cwd: folder, maxFileKib: 1});
  t.is(code, 3);
  t.regex(stderr, /results\.json: .*\(ERR_FILE_WRITE\)\n$/);
  t.true(validate(JSON.parse(stdout)), JSON.stringify(validate.errors));
});

test('what does not fit is one clear error', async t => {
  const folder = await temporaryFolder(t);
  const args = [...engineOfA0, '--seconds', '0.05', '--batch', '100000000'];
  const {code, stderr} = await repvgg(args, {cwd: folder});
  t.is(code, 3);
  t.is(
    stderr,
    'repvgg: 100000000 images of 224 x 224 pixels do not fit into memory: use smaller batches. (ERR_OUT_OF_MEMORY)\n',
  );
});

test('a folder of temporary files that is not there is an error of its own', async t => {
  const nowhere = join(await temporaryFolder(t), 'nowhere');
  const plan = await planA0();
  const {TMPDIR} = process.env;
  process.env.TMPDIR = nowhere;
  const run = measure(plan);
  if (TMPDIR === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = TMPDIR;
  await t.throwsAsync(run, {
    code: 'ERR_FILE_WRITE',
    message: `Cannot write ${nowhere}/repvgg-bench-*: there is no folder ${nowhere}.`,
  });
});

async function measureA0(precision: Precision): Promise<BenchReport> {
  return measure(await planA0(precision));
}

function planA0(precision: Precision = 'fp32'): Promise<Plan> {
  return planBench({
    models: ['A0'],
    preprocessing: () => undefined,
    stages: ['engine'],
    batches: [1],
    form: 'deploy',
    device: 'cpu',
    precision,
    threads: 1,
    peers: [],
  });
}

function measure(plan: Plan): Promise<BenchReport> {
  return runBench(plan, {
    seconds: 0.05,
    layers: false,
    limitSeconds: Infinity,
    version: '0.0.0',
    countInstructions: () => 'not here',
    stop: new AbortController().signal,
    onProgress() {},
  });
}

/** What a run leaves among temporary files. */
async function networksIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter(name => name.startsWith('repvgg-bench-'));
}

test('a run that is interrupted keeps what it has measured, and leaves nothing else behind', async t => {
  const folder = await temporaryFolder(t);
  const python = join(folder, 'python');
  // Opens the first network, and says nothing of the second.
  const logits = Buffer.from(new Float32Array(1000).buffer).toString('base64');
  const replies = [
    '{"version": "9", "cuda": false}',
    ...Array(40).fill(`{"rate": 1, "times": [4, 2], "logits": "${logits}"}`),
  ];
  await writeFile(join(folder, 'replies'), replies.map(line => `${line}\n`).join(''));
  const script = `head -n 1 replies; n=0; while read -r question; do
    case "$question" in *'"batch":2'*) touch asked; sleep 30;; esac; sed -n 2p replies; done`;
  await writeFile(python, `#!/bin/sh\n${script}\n`, {mode: 0o755});
  const args = ['bench', '--models', 'A0', '--batch', '1,2', '--stage', 'engine', '--seconds', '0.05'];
  const env = {TMPDIR: folder, REPVGG_PYTHON: python};
  const child = start([...args, '--peers', 'pytorch', '--json'], {cwd: folder, env});
  const ended = finish(child);
  while ((child.exitCode ?? child.signalCode) === null && !(await readdir(folder)).includes('asked'))
    await sleep(50);
  child.kill('SIGTERM');
  const {code, stdout, stderr} = await ended;
  t.is(code, 143, stderr);
  const report = JSON.parse(stdout) as BenchReport;
  t.true(validate(report), JSON.stringify(validate.errors));
  t.deepEqual(
    report.results.map(({runner, batch}) => `${runner} ${batch}`),
    ['repvgg 1', 'pytorch-eager 1', 'pytorch-eager 1'],
  );
  t.deepEqual(report.results[1]!.latencyPercentilesMs, {p50: 3, p90: 4, p99: null, runs: 14});
  t.deepEqual(report.skipped, ['RepVGG-A0 engine batch 2: the run was interrupted.']);
  t.deepEqual(JSON.parse(await readFile(join(folder, 'repvgg-bench/results.json'), 'utf8')), report);
  t.deepEqual(await networksIn(folder), []);
});

test('a run that is interrupted before its first result replaces none of an earlier one', async t => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'repvgg-bench'));
  await writeFile(join(folder, 'repvgg-bench/results.json'), 'earlier');
  const child = start([...engineOfA0, '--seconds', '2'], {cwd: folder, env: {TMPDIR: folder}});
  const ended = finish(child);
  while ((child.exitCode ?? child.signalCode) === null && (await networksIn(folder)).length === 0)
    await sleep(20);
  child.kill('SIGINT');
  const {code, stdout} = await ended;
  t.deepEqual({code, stdout}, {code: 130, stdout: ''});
  t.deepEqual(await networksIn(folder), []);
  t.is(await readFile(join(folder, 'repvgg-bench/results.json'), 'utf8'), 'earlier');
});

test('@huggingface/transformers is given a repository that it can load', async t => {
  const folder = await temporaryFolder(t);
  const library = join(folder, 'node_modules/@huggingface/transformers');
  await mkdir(library, {recursive: true});
  // Says what it was given, and that each image is of the first class.
  const fake = `
    const {readFileSync, statSync} = require('node:fs');
    exports.env = {version: '4.0.0'};
    exports.Tensor = class { constructor(type, data, shape) { Object.assign(this, {type, data, shape}); } };
    exports.AutoModelForImageClassification = {
      async from_pretrained(path, {local_files_only, dtype, device, session_options}) {
        const config = readFileSync(path + '/config.json', 'utf8');
        const {size} = statSync(path + '/onnx/model.onnx');
        process.stderr.write(JSON.stringify([config, size > 3e7, local_files_only, dtype, device, session_options]));
        const model = async ({input}) => {
          if (input.data.length !== input.shape.reduce((a, b) => a * b)) throw new Error('shape');
          const data = new Float32Array(1000 * input.shape[0]).fill(0);
          return {logits: {data}};
        };
        model.dispose = async () => {};
        return model;
      },
    };`;
  await writeFile(join(library, 'index.js'), fake);
  const args = [...engineOfA0, '--batch', '2', '--seconds', '0.05', '--threads', '1', '--precision', 'fp32'];
  const {code, stdout, stderr} = await repvgg([...args, '--peers', 'transformers', '--json'], {cwd: folder});
  t.is(code, 0, stderr);
  const resnet = '{"model_type": "resnet"}';
  t.is(stderr, JSON.stringify([resnet, true, true, 'fp32', 'cpu', {intraOpNumThreads: 1}]));
  const {results, peers} = JSON.parse(stdout) as BenchReport;
  t.deepEqual(peers, {transformers: '4.0.0'});
  t.like(results[1], {runner: 'transformers', precision: 'fp32', batch: 2, outputError: 1});
  t.true(results[1]!.ratio!.median > 0);
  t.true(results[1]!.latencyPercentilesMs!.runs >= 7);
});

test('onnxruntime as a peer runs the same network in the same rounds', async t => {
  const folder = await temporaryFolder(t);
  const runtime = join(folder, 'node_modules/onnxruntime-node');
  await mkdir(runtime, {recursive: true});
  // The one for browsers, which has the same interface.
  const path = JSON.stringify(createRequire(import.meta.url).resolve('onnxruntime-web'));
  const alias = `module.exports = require(${path}); module.exports.env.wasm.numThreads = 1;`;
  await writeFile(join(runtime, 'index.js'), alias);
  const args = [...engineOfA0, '--seconds', '0.05', '--threads', '1', '--precision', 'fp32'];
  const {code, stdout, stderr} = await repvgg([...args, '--peers', 'onnxruntime-node', '--json'], {
    cwd: folder,
  });
  t.is(code, 0, stderr);
  const {results, peers, skipped} = JSON.parse(stdout) as BenchReport;
  t.deepEqual(skipped, []);
  t.deepEqual(Object.keys(peers), ['onnxruntime-node']);
  t.like(results[1], {runner: 'onnxruntime-node', precision: 'fp32', batch: 1});
  const {outputError, ratio, latencyPercentilesMs} = results[1]!;
  t.true(outputError! > 0 && outputError! < 1e-5, `relative L2 ${outputError}`);
  t.true(ratio!.median > 0);
  t.true(latencyPercentilesMs!.runs >= 7);
});

test('a peer that dies or does not load takes nothing else with it', async t => {
  const folder = await temporaryFolder(t);
  const python = join(folder, 'python');
  const replies = `{"version": "9", "cuda": false}
{"logits": "${Buffer.from(new Float32Array(1000).buffer).toString('base64')}"}`;
  await writeFile(python, `#!/bin/sh\ncat <<END\n${replies}\nEND\n`, {mode: 0o755});
  const runtime = join(folder, 'node_modules/onnxruntime-node');
  await mkdir(runtime, {recursive: true});
  await writeFile(join(runtime, 'index.js'), 'throw new Error("no libonnxruntime")');
  const args = ['bench', '--models', 'A0', '--batch', '1,2', '--stage', 'engine', '--seconds', '0.05'];
  const env = {REPVGG_PYTHON: python};
  const peers = ['--peers', 'onnxruntime-node,pytorch', '--precision', 'bf16'];
  const {code, stdout, stderr} = await repvgg([...args, ...peers, '--json'], {cwd: folder, env});
  t.is(code, 0, stderr);
  const {results, skipped} = JSON.parse(stdout) as BenchReport;
  // Also where it died.
  t.deepEqual(
    results.map(({runner, batch}) => `${runner} ${batch}`),
    ['repvgg 1', 'repvgg 2'],
  );
  t.is(results[0]!.imagesPerSecond.runs, 7);
  t.regex(skipped.join('\n'), /^onnxruntime-node: it does not load: no libonnxruntime\.$/m);
  t.regex(
    skipped.join('\n'),
    /^pytorch-eager fp32, RepVGG-A0 engine batch 1: PyTorch failed: the process ended$/m,
  );
});
