// What the engine refuses, and what becomes of odd parameters and of those that are handed over.
import {readdir} from 'node:fs/promises';
import test from 'ava';
import type {Architecture} from '../../ts/architecture.ts';
import {randomNetwork} from '../../ts/bench/workload.ts';
import {setParameters} from '../../ts/loading/load_network.ts';
import {type NativeNetwork, type NativeNetworkShape, native} from '../../ts/native/addon.ts';
import {toNativeShape} from '../../ts/native/native_network.ts';
import type {BlockParameters, NetworkParameters} from '../../ts/network.ts';
import {testOnLinux, testWithBf16} from '../where.ts';
import {mean, std} from './native_networks.ts';

/** One block, without a classifier. */
const shape: NativeNetworkShape = {
  form: 'deploy',
  squeezeExcite: null,
  blocks: [{inChannels: 3, outChannels: 4, stride: 1, groups: 1, identity: false, squeezeChannels: 0}],
  numClasses: 0,
  height: 3,
  width: 3,
  mean,
  std,
};

// In turn, since it counts the threads of the process.
testOnLinux.serial('a network has its threads until it is disposed of', async t => {
  const make = (threads: number): NativeNetwork =>
    new (native().Network)(shape, {backend: 'cpu', precision: 'fp32', batchSize: 1, threads});
  const count = async (): Promise<number> => (await readdir('/proc/self/task')).length;
  await make(1).dispose(); // What all networks share is there then.
  const before = await count();
  const network = make(4);
  t.is(await count(), before + 3);
  await network.dispose();
  t.is(await count(), before);
});

test('bf16 is refused where the processor lacks it', t => {
  const {Network} = native();
  const options = {backend: 'cpu', precision: 'bf16', batchSize: 1, instructionSet: 'abacus'} as const;
  t.throws(() => new Network(shape, options), {code: 'ERR_PRECISION_UNSUPPORTED'});
});

testWithBf16('bf16 takes no branches', async t => {
  const network = new (native().Network)(
    {...shape, form: 'train'},
    {backend: 'cpu', precision: 'bf16', batchSize: 1},
  );
  const four = new Float32Array(4).fill(1);
  const batchNorm = {gamma: four, beta: four, mean: four, variance: four, eps: 1e-5};
  const branch = (taps: number) => ({weight: new Float32Array(4 * 3 * taps), bias: null, batchNorm});
  await t.throwsAsync(
    network.setBlock(0, {dense: branch(9), pointwise: branch(1), identity: null, squeezeExcite: null}),
    {code: 'ERR_PRECISION_UNSUPPORTED'},
  );
  await network.dispose();
});

test('an instruction set that the processor does not have is refused', t => {
  const {Network} = native();
  const options = {backend: 'cpu', precision: 'fp32', batchSize: 8, instructionSet: 'abacus'} as const;
  t.throws(() => new Network(shape, options), {code: 'ERR_DEVICE_UNAVAILABLE'});
});

test('a name that the addon does not know is refused, not read as the default', t => {
  const {Network} = native();
  const options = {backend: 'cpu', precision: 'fp32', batchSize: 1} as const;
  for (const wrong of [{precision: 'int3'}, {winograd: 'f8'}, {algorithm: 'f3'}]) {
    t.throws(() => new Network(shape, {...options, ...(wrong as object)}), {
      code: 'ERR_INVALID_ARGUMENT',
      message: new RegExp(`"${Object.values(wrong)[0]}"`),
    });
  }
});

test('NaN pixels of a network show as NaN, not as zeros, and an abort ends its run', async t => {
  const {Network} = native();
  const network = new Network(shape, {backend: 'cpu', precision: 'fp32', batchSize: 8});
  const weight = new Float32Array(4 * 27).fill(Number.NaN, 0, 27);
  await network.setBlock(0, {weight, bias: new Float32Array(4).fill(1), squeezeExcite: null});
  const batch = {pixels: new Uint8Array(27), count: 1};
  t.deepEqual([...(await network.run(batch, 'embedding', new Uint8Array(1)))], [Number.NaN, 1, 1, 1]);
  await t.throwsAsync(network.run(batch, 'embedding', Uint8Array.of(1)), {code: 'ABORT_ERR'});
});

test('a network that is disposed refuses every call, and may be disposed again', async t => {
  const {Network} = native();
  const network = new Network(
    {...shape, numClasses: 2},
    {backend: 'cpu', precision: 'fp32', batchSize: 8, winograd: 'off'},
  );
  const weight = new Float32Array(4 * 27);
  const deploy = {weight, bias: new Float32Array(4), squeezeExcite: null};
  const linear = {weight: new Float32Array(8), bias: new Float32Array(2)};
  await Promise.all([network.setBlock(0, deploy), network.setLinear(linear)]);
  const batch = {pixels: new Uint8Array(27), count: 1};
  const run = (): Promise<unknown> => network.run(batch, 'logits', new Uint8Array(1));
  // What was asked for before is still done.
  const [running] = await Promise.all([run(), network.dispose()]);
  t.deepEqual(running, new Float32Array(2));
  for (const use of [
    run,
    () => network.runTopK(batch, 1, new Uint8Array(1)),
    () => network.measureRate(batch, 0, new Uint8Array(1)),
    () => network.setBlock(0, deploy),
    () => network.setLinear(linear),
    () => network.describe(),
    () => network.makeSink(0),
  ]) {
    await t.throwsAsync(async () => use(), {code: 'ERR_DISPOSED'});
  }
  await network.dispose();
});

test('kernels that were handed over are freed, and the network does without them', async t => {
  const architecture: Architecture = {
    name: 'custom',
    numBlocks: [1, 2, 1, 1],
    widths: [8, 8, 8, 16, 16],
    groups: 1,
    numClasses: 3,
    squeezeExcite: null,
  };
  for (const form of ['deploy', 'train'] as const) {
    const given: BlockParameters[] = [];
    const parameters = randomNetwork(architecture, form);
    const noted: NetworkParameters = {
      ...parameters,
      async *blocks(...args) {
        for await (const block of parameters.blocks(...args)) {
          given.push(block);
          yield block;
        }
      },
    };
    const shape = toNativeShape(architecture, form, {crop: 32, mean, std});
    const make = () =>
      new (native().Network)(shape, {
        backend: 'cpu',
        precision: 'fp32',
        batchSize: 1,
        threads: 1,
        algorithm: 'direct',
      });
    const [network, again] = [make(), make()];
    await setParameters(network, noted, form);
    const kernels = given.flatMap(block =>
      block.form === 'deploy' ? [block.weight] : [block.dense.weight, block.pointwise.weight],
    );
    t.is(kernels.length, form === 'deploy' ? 6 : 12);
    for (const kernel of kernels) t.is(kernel.length, 0);
    await setParameters(again, randomNetwork(architecture, form), form);
    const batch = {pixels: new Uint8Array(32 * 32 * 3).fill(100), count: 1};
    const logits = await network.run(batch, 'logits', new Uint8Array(1));
    t.deepEqual(logits, await again.run(batch, 'logits', new Uint8Array(1)));
    t.true(logits.some(value => value !== 0));
  }
});
