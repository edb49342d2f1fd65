// The whole way from TypeScript to the kernels and back, on emulated GPUs (test/emulator/addon.cc): any access that a kernel
// may not make ends the process.
import {spawnSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {readdir, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import test, {type ExecutionContext} from 'ava';
import {digits} from '../../ts/digits.ts';
import type {LoadOptions} from '../../ts/loading/load_network.ts';
import {RepVGG} from '../../ts/model.ts';
import {native} from '../../ts/native/addon.ts';
import type {DeviceList, DeviceName, Precision} from '../../ts/native/device.ts';
import type {ScoreRow} from '../../ts/scoring/score_row.ts';
import {repvgg} from '../cli/run.ts';
import {temporaryFolder} from '../folder.ts';
import {buildEmulator, emulatorFolder} from './emulated_build.ts';

buildEmulator();
process.env.REPVGG_PREBUILD = emulatorFolder;
delete process.env.CUDA_VISIBLE_DEVICES; // package.json hides GPUs from tests.
process.env.REPVGG_TUNE = 'off';

const images = readdirSync(digits.images)
  .slice(0, 7)
  .map(name => join(digits.images, name));

/** `lost:0:5` and the like; it holds until the test ends. */
function plant(t: ExecutionContext, fault: string): void {
  process.env.REPVGG_EMULATED_FAULT = fault;
  t.teardown(() => {
    process.env.REPVGG_EMULATED_FAULT = '';
  });
}

const load = (device: DeviceName | DeviceList, options: LoadOptions = {}): Promise<RepVGG> =>
  RepVGG.load('digits', {device, batchSize: 3, ...options});

/** Relative L2. */
function distance(got: readonly Float32Array[], expected: readonly Float32Array[]): number {
  let [error, square] = [0, 0];
  for (const [i, row] of expected.entries()) {
    for (const [j, value] of row.entries()) {
      error += (got[i]![j]! - value) ** 2;
      square += value ** 2;
    }
  }
  return Math.sqrt(error / square);
}

async function warningsOf(work: () => Promise<void>): Promise<Error[]> {
  const warnings: Error[] = [];
  const listen = (warning: Error): number => warnings.push(warning);
  process.on('warning', listen);
  await work();
  await new Promise(setImmediate);
  process.off('warning', listen);
  return warnings;
}

const memory = (index = 0): number => native().cudaCounters(index).memoryBytes!;

const bounds: Partial<Record<Precision, number>> = {
  fp32: 5e-6,
  tf32: 2e-3,
  fp16: 2e-3,
  bf16: 1.2e-2,
  fp8: 1e-1,
};
for (const [precision, bound] of Object.entries(bounds) as [Precision, number][]) {
  test.serial(
    `a GPU gives the logits, features and classes of the CPU in ${precision}, whatever the batch`,
    async t => {
      await using cpu = await load('cpu', {precision: 'fp32'});
      const calibration = precision === 'fp8' ? 'digits' : undefined;
      await using gpu = await load('cuda', {precision, calibration});
      t.like(gpu, {precision, device: {name: 'cuda:0', reason: 'Emulated GPU can be used.'}});
      const logits = await gpu.logits(images);
      const relative = distance(logits, await cpu.logits(images));
      t.true(relative <= bound, `${relative}`);
      t.true(distance(await gpu.embed(images), await cpu.embed(images)) <= bound);
      t.deepEqual(await gpu.logits(images.slice(0, 2)), logits.slice(0, 2));
      for (const [i, best] of (await gpu.classify(images, {topK: 10})).entries()) {
        t.deepEqual(
          best.map(({index}) => index),
          [...logits[i]!.keys()].sort((a, b) => logits[i]![b]! - logits[i]![a]!),
        );
      }
    },
  );
}

test.serial('a GPU runs the branches of the train form', async t => {
  await using cpu = await load('cpu', {form: 'train'});
  await using gpu = await load('cuda', {form: 'train', precision: 'fp32'});
  t.true(distance(await gpu.logits(images), await cpu.logits(images)) <= bounds.fp32!);
});

test.serial('a model that is disposed of gives its memory back, also while it runs', async t => {
  t.is(memory(), 0);
  const gpu = await load('cuda');
  const running = gpu.logits(images);
  await sleep(5);
  await gpu.dispose();
  t.is((await running).length, images.length);
  t.is(memory(), 0);
});

test.serial('a run that is aborted leaves the model as it was', async t => {
  await using gpu = await load('cuda', {batchSize: 1});
  const expected = await gpu.logits(images);
  const controller = new AbortController();
  const running = gpu.logits(images, {signal: controller.signal});
  setTimeout(() => controller.abort(), 20);
  await t.throwsAsync(running, {name: 'AbortError', any: true});
  t.deepEqual(await gpu.logits(images), expected);
});

test.serial('two GPUs give the bits of one, in order, and each has weights of its own', async t => {
  await using one = await load('cuda:1');
  const of_one = memory(1);
  await using two = await load(['cuda:0', 'cuda:1'], {batchSize: 1});
  t.deepEqual(two.device.members, ['cuda:0', 'cuda:1']);
  t.deepEqual(await two.logits(images), await one.logits(images));
  t.true(memory(0) > of_one && memory(1) > 2 * of_one, `${memory(0)} and ${memory(1)} bytes`);
});

test.serial(
  'a GPU that fails is left out with a warning, and every image is scored by the other',
  async t => {
    await using two = await load(['cuda:0', 'cuda:1'], {batchSize: 1});
    const expected = await two.logits(images);
    plant(t, 'lost:0:10');
    const rows: ScoreRow[] = [];
    const warnings = await warningsOf(async () => {
      for await (const row of two.score(images, {output: 'logits'})) rows.push(row);
    });
    t.deepEqual(
      rows.map(row => ('logits' in row ? row.logits : row)),
      expected,
    );
    t.is(warnings.length, 1);
    t.regex(warnings[0]!.message, /^cuda:0 is left out from now on: The GPU failed while running a model/);
  },
);

test.serial('a GPU that fails loses its models, with a code, and another is as usable as before', async t => {
  const gpu = await load('cuda:0', {batchSize: 1});
  plant(t, 'lost:0:10');
  await t.throwsAsync(gpu.logits(images), {code: 'ERR_DEVICE_LOST', message: /cudaErrorIllegalAddress/});
  await t.throwsAsync(gpu.logits(images), {code: 'ERR_DEVICE_LOST', message: /failed earlier/});
  await t.throwsAsync(load('cuda:0'), {code: 'ERR_DEVICE_LOST'});
  await using other = await load('cuda:1');
  t.is((await other.logits(images)).length, images.length);
  await gpu.dispose();
});

test.serial('a launch that is refused costs its call only', async t => {
  await using gpu = await load('cuda');
  const expected = await gpu.logits(images);
  plant(t, 'refused:1');
  await t.throwsAsync(gpu.logits(images), {code: 'ERR_DEVICE_REFUSED'});
  t.deepEqual(await gpu.logits(images), expected);
});

test.serial('a GPU that another process has for itself cannot be had', async t => {
  plant(t, 'taken');
  await t.throwsAsync(load('cuda'), {code: 'ERR_DEVICE_UNAVAILABLE', message: /another process/});
});

test.serial(
  'with little memory batches are smaller, which a warning says; with less there is an error',
  async t => {
    const before = memory();
    await using small = await load('cuda', {batchSize: 16});
    const weights = memory() - before;
    const expected = await small.logits(images);
    const batch = memory() - before - weights;
    await using gpu = await load('cuda', {batchSize: 64});
    await using none = await load('cuda');
    plant(t, `memory:${memory() + 2 * batch}`);
    const warnings = await warningsOf(async () => {
      t.deepEqual(await gpu.logits(images), expected);
      t.deepEqual(await gpu.logits(images), expected);
    });
    t.deepEqual(
      warnings.map(({message}) => message.replace(/\d+ at/, 'some at')),
      ['Batches of 64 images do not fit on cuda:0, which runs some at a time.'],
    );
    process.env.REPVGG_EMULATED_FAULT = `memory:${memory()}`;
    await t.throwsAsync(none.logits(images), {code: 'ERR_OUT_OF_MEMORY'});
    process.env.REPVGG_EMULATED_FAULT = '';
    t.deepEqual(await none.logits(images), expected);
  },
);

test.serial('what is fastest is measured once and written down', async t => {
  const folder = await temporaryFolder(t);
  const env = {REPVGG_TUNE: '', REPVGG_CACHE_DIR: folder};
  const info = async (): Promise<{algorithm: string; source: string}[]> => {
    const run = ['--device', 'cuda', '--precision', 'tf32', '-b', '1', '-r', '16'];
    const {code, stdout, stderr} = await repvgg(['info', 'digits', '--layers', '--json', ...run], {env});
    t.is(code, 0, stderr);
    return JSON.parse(stdout).running.layers;
  };
  const first = await info();
  t.true(first.slice(1).every(({source}) => source === 'measured'));
  t.deepEqual(
    await info(),
    first.map(layer => ({...layer, source: layer.source === 'only' ? 'only' : 'cached'})),
  );
});

test.serial(
  'scoring that ends with the loss of its GPU is resumed without losing or doubling a row',
  async t => {
    const folder = await temporaryFolder(t);
    const out = join(folder, 'out.ndjson');
    const args = [
      'score',
      digits.images,
      '-c',
      'digits',
      '--device',
      'cuda',
      '-b',
      '16',
      '-o',
      out,
      '--resume',
    ];
    const lost = await repvgg(args, {env: {REPVGG_EMULATED_FAULT: 'lost:0:40'}});
    t.not(lost.code, 0);
    t.regex(lost.stderr, /ERR_DEVICE_LOST/);
    const again = await repvgg(args);
    t.is(again.code, 0, again.stderr);
    const ids = (await readFile(out, 'utf8'))
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as {id: string}).id);
    const all = (await readdir(digits.images)).map(name => join(digits.images, name));
    t.deepEqual(ids.toSorted(), all.toSorted());
  },
);

test.serial('threads and processes end while a GPU works, as test:gpu tries on a GPU', t => {
  const script = join(import.meta.dirname, '../gpu/lifetimes.mjs');
  const {stdout, status} = spawnSync(process.execPath, [script, '--images', '3'], {encoding: 'utf8'});
  const lines = stdout.trimEnd().split('\n');
  t.true(lines.length >= 4);
  for (const line of lines) t.true(JSON.parse(line).ok, line);
  t.is(status, 0);
});

test.serial('doctor and bench show the GPUs', async t => {
  const doctor = await repvgg(['doctor']);
  t.regex(doctor.stdout, /cuda:1 is Emulated GPU, compute capability 9\.0, 4 GiB/);
  t.regex(doctor.stdout, /device +cuda:0: Emulated GPU can be used\./);
  const network = ['--models', 'A0', '--batch', '1', '--crop', '64'];
  const args = ['--stage', 'engine', '--seconds', '0.1', '--layers', '--json', '--output'];
  const folder = await temporaryFolder(t);
  const {code, stdout, stderr} = await repvgg(['bench', '--device', 'cuda', ...network, ...args, folder]);
  t.is(code, 0, stderr);
  const {machine, limits, results, layers} = JSON.parse(stdout);
  t.deepEqual(machine.gpus, ['Emulated GPU', 'Emulated GPU']);
  t.is(limits.instructionSet, 'sm_90, wgmma');
  for (const rate of [limits.fmaGflops, limits.matrixTflops, limits.copyGBps, limits.l2GBps])
    t.true(rate > 0);
  t.is(results.length, 1);
  t.like(results[0], {runner: 'repvgg', device: 'cuda:0', precision: 'fp16', batch: 1});
  t.true(results[0].memoryBytes > 8e6 * 2, `${results[0].memoryBytes} bytes, and A0 has 8 million weights`);
  t.is(layers[0].layers.length, 22);
});

test.serial('the limits of a GPU are measured in every precision', async t => {
  const units = {fp32: 'wgmma', tf32: 'mma.sync', fp16: 'wgmma', bf16: 'wgmma', fp8: 'wgmma'} as const;
  for (const [precision, unit] of Object.entries(units) as [keyof typeof units, string][]) {
    const options = {device: 'cuda:1', precision, threads: 1, seconds: 0.01, copy: false};
    const {instructionSet, fmaGflops, matrixGflops} = await native().measureLimits(options);
    t.is(instructionSet, `sm_90, ${unit}`);
    t.true(fmaGflops > 0);
    t.is(matrixGflops !== null && matrixGflops > 0, precision !== 'fp32');
  }
});

/** What GPUs of another compute capability than 9.0 do, or why not. */
const capabilities: [capability: string, precision: string, refusal: RegExp | null][] = [
  ['70', 'fp16', null],
  ['75', 'fp16', null],
  ['86', 'bf16', null],
  ['89', 'tf32', null],
  ['75', 'bf16', /no bf16 instructions .* use "fp16" or "fp32"\. \(ERR_PRECISION_UNSUPPORTED\)/],
  ['70', 'tf32', /no tf32 instructions .* use "fp16" or "fp32"\. \(ERR_PRECISION_UNSUPPORTED\)/],
  ['89', 'fp8', /that of the Emulated GPU is 8\.9: use "fp16"\. \(ERR_PRECISION_UNSUPPORTED\)/],
  ['61', 'fp32', /its compute capability is 6\.1, and 7\.0 is the least .*\(ERR_DEVICE_UNAVAILABLE\)/],
  ['103', 'fp32', /no kernels for its compute capability 10\.3 .*\(ERR_DEVICE_UNAVAILABLE\)/],
];
for (const [capability, precision, refusal] of capabilities) {
  test(`compute capability ${capability}: ${precision} ${refusal ? 'is refused' : 'runs'}`, async t => {
    const args = ['classify', '-c', 'digits', '--device', 'cuda', '--precision', precision, '--top-k', '1'];
    const env = {REPVGG_EMULATED_CAPABILITY: capability};
    const {code, stdout, stderr} = await repvgg([...args, images[0]!], {env});
    t.is(code, refusal ? 3 : 0, stderr);
    t.regex(refusal ? stderr : stdout, refusal ?? /^.*-3\.png: 3 9\d/);
  });
}
