import {spawnSync} from 'node:child_process';
import {setTimeout as sleep} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {Worker} from 'node:worker_threads';
import test from 'ava';
import {RepVGG} from '../../ts/model.ts';
import {type NativeNetwork, native} from '../../ts/native/addon.ts';

const numClasses = 10;

/** A network heavy enough to keep every core busy for a while: random weights, about 1 GFLOP an image at 224 x 224. */
async function heavyNetwork(): Promise<NativeNetwork> {
  const {Network} = native();
  const channels = [32, 32, 64, 64, 64];
  const blocks = channels.map((outChannels, i) => ({
    inChannels: i === 0 ? 3 : channels[i - 1]!,
    outChannels,
    stride: i < 2 ? (2 as const) : (1 as const),
    groups: 1,
    identity: false,
    squeezeChannels: 0,
  }));
  const shape = {
    form: 'deploy',
    squeezeExcite: null,
    blocks,
    numClasses,
    height: 224,
    width: 224,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  } as const;
  const network = new Network({...shape, blocks}, {backend: 'cpu', precision: 'fp32', batchSize: 8});
  for (const [i, {inChannels, outChannels}] of blocks.entries()) {
    const weight = new Float32Array(outChannels * inChannels * 9).fill(0.01);
    await network.setBlock(i, {weight, bias: new Float32Array(outChannels), squeezeExcite: null});
  }
  await network.setLinear({
    weight: new Float32Array(numClasses * 64).fill(0.1),
    bias: new Float32Array(numClasses),
  });
  return network;
}

test.serial('the event loop keeps waiting for events while a batch runs', async t => {
  const network = await heavyNetwork();
  const batch = {pixels: new Uint8Array(48 * 224 * 224 * 3).fill(99), count: 48};
  // The share of the time in which the loop did not wait: 1 if the call blocks. On a machine that others use, the kernel may keep it
  // from its turn, but not in each of ten runs.
  const busy: number[] = [];
  while (busy.length < 10 && !busy.some(share => share < 0.25)) {
    const before = performance.eventLoopUtilization();
    await network.run(batch, 'logits', new Uint8Array(1));
    busy.push(performance.eventLoopUtilization(before).utilization);
  }
  await network.dispose();
  t.true(
    busy.some(share => share < 0.25),
    `busy for ${busy}`,
  );
});

test('raw pixels may be transferred as soon as the call is made, and be in a Buffer as sharp gives them', async t => {
  await using model = await RepVGG.load('digits');
  const side = 3000;
  const image = (data: Uint8Array) => ({data, width: side, height: side, channels: 3}) as const;
  for (const toData of [(bytes: Uint8Array) => bytes, (bytes: Uint8Array) => Buffer.from(bytes.buffer)]) {
    const transferred = toData(new Uint8Array(side * side * 3).fill(200));
    const expected = await model.logits([image(transferred)]);
    const running = model.logits([image(transferred)]);
    await sleep(1); // By now the pixels are being resized on another thread.
    const {buffer} = transferred;
    // Read by another thread at this address, if they were not copied.
    const changed = new Uint8Array(structuredClone(buffer, {transfer: [buffer as ArrayBuffer]}));
    changed.fill(0);
    t.deepEqual(await running, expected);
  }
});

test('more threads than the system has is an error, not the end of the process', async t => {
  await t.throwsAsync(RepVGG.load('digits', {threads: 1_000_000}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /Expected a positive integer up to 1024 for threads but received 1000000/,
  });
  await t.throwsAsync(RepVGG.load('digits', {batchSize: 2 ** 31}), {code: 'ERR_INVALID_ARGUMENT'});
});

test('aborting a native run ends it at the next layer', async t => {
  const network = await heavyNetwork();
  const batch = {pixels: new Uint8Array(64 * 224 * 224 * 3), count: 64};
  const cancel = new Uint8Array(1);
  const running = network.run(batch, 'logits', cancel);
  await sleep(20);
  cancel[0] = 1;
  await t.throwsAsync(running, {code: 'ABORT_ERR'});
  await network.dispose();
});

test('the addon stays loaded when the last thread with it has ended', t => {
  const program = `
    const {Worker} = require('node:worker_threads');
    const worker = new Worker(process.argv[1], {workerData: 'exit'});
    worker.on('exit', () => {
      console.log(require('node:fs').readFileSync('/proc/self/maps', 'utf8').includes('repvgg.node'));
    });`;
  const script = fileURLToPath(new URL('worker_in_flight.mjs', import.meta.url));
  const {stdout} = spawnSync(process.execPath, ['-e', program, script], {encoding: 'utf8'});
  t.is(stdout, 'true\n');
});

test('sixty workers that end with work in flight leave the process whole', async t => {
  const script = fileURLToPath(new URL('worker_in_flight.mjs', import.meta.url));
  for (let i = 0; i < 60; i += 4) {
    await Promise.all(
      ['terminate', 'exit', 'throw', 'terminate'].map(async end => {
        const worker = new Worker(script, {workerData: end});
        worker.on('error', () => {}); // 'throw' ends in this event, as it should.
        const exited = new Promise(resolve => worker.once('exit', resolve));
        const busy = await Promise.race([exited, new Promise(resolve => worker.once('message', resolve))]);
        t.is(busy, 'busy', 'the worker has work in flight');
        if (end === 'terminate') await worker.terminate();
        await exited;
      }),
    );
  }
  await using model = await RepVGG.load('digits');
  t.is(model.architecture.numClasses, 10, 'the addon still works here');
});
