import {setTimeout as sleep} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {Worker} from 'node:worker_threads';
import test from 'ava';
import {RepVGG} from '../ts/model.ts';
import {type NativeNetwork, native} from '../ts/native.ts';

const numClasses = 10;

/** A network heavy enough to keep every core busy for a while: random weights, about 1 GFLOP an image at 224 x 224. */
async function heavyNetwork(): Promise<NativeNetwork> {
  const {Network} = native();
  const channels = [32, 32, 64, 64, 64];
  const blocks = channels.map((outChannels, i) => ({
    inChannels: i === 0 ? 3 : channels[i - 1]!,
    outChannels,
    stride: i < 2 ? 2 : 1,
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

/** Runs a batch and returns how long it took and the longest time the event loop went without a turn, in ms. */
async function longestStall(network: NativeNetwork): Promise<{took: number; stall: number}> {
  const batch = {pixels: new Uint8Array(48 * 224 * 224 * 3).fill(99), count: 48};
  const period = 2;
  const started = performance.now();
  let last = started;
  let stall = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    stall = Math.max(stall, now - last - period);
    last = now;
  }, period);
  await network.run(batch, 'logits', new Uint8Array(1));
  const end = performance.now();
  clearInterval(timer);
  return {took: end - started, stall: Math.max(stall, end - last - period)};
}

test('the event loop keeps ticking while a batch runs', async t => {
  const network = await heavyNetwork();
  // Every core computes, so the event loop's thread has to be given its turn by the kernel, and on a shared machine a
  // turn can come late: the best of ten tells a blocking call, which would stall each of them, from bad luck.
  const runs: {took: number; stall: number}[] = [];
  while (runs.length < 10 && !runs.some(({stall}) => stall < 20)) runs.push(await longestStall(network));
  await network.dispose();
  t.true(
    runs.some(({took, stall}) => took > 150 && stall < 20),
    `longest stalls: ${JSON.stringify(runs)}`,
  );
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
