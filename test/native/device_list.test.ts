import test from 'ava';
import {RepVGGError} from '../../ts/errors.ts';
import {RepVGG} from '../../ts/model.ts';
import {type NativeBatch, type NativeNetwork, native} from '../../ts/native/addon.ts';
import {chooseDevice, type DeviceList} from '../../ts/native/device.ts';
import {NetworkGroup} from '../../ts/native/network_group.ts';
import {photos} from '../fixtures.ts';

/** A device of which tests decide when a run ends, and how. */
class Device implements NativeNetwork {
  readonly batches: number[] = [];
  blocks = 0;
  disposed = false;
  failure: RepVGGError | undefined;

  async setBlock(): Promise<void> {
    this.blocks++;
  }
  makeSink(): null {
    return null;
  }
  async setLinear(): Promise<void> {}
  async run({count}: NativeBatch): Promise<Float32Array> {
    this.batches.push(count);
    if (this.failure) throw this.failure;
    return Float32Array.of(count);
  }
  async runTopK(): Promise<never> {
    throw new Error('not used');
  }
  async measureRate({count}: NativeBatch): Promise<number> {
    return count;
  }
  async describe(): Promise<string> {
    return '{}';
  }
  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

function makeGroup(count: number): {devices: Device[]; group: NetworkGroup} {
  const devices = Array.from({length: count}, () => new Device());
  return {devices, group: new NetworkGroup(devices.map((network, i) => ({name: `fake:${i}`, network})))};
}

const cancel = new Uint8Array(1);
const batch = (count: number): NativeBatch => ({pixels: new Uint8Array(), count});
const runAll = (group: NetworkGroup, counts: number[]): Promise<number[]> =>
  Promise.all(counts.map(async count => (await group.run(batch(count), 'logits', cancel))[0]!));
const lost = new RepVGGError('ERR_DEVICE_LOST', 'The GPU failed.');

test('batches are shared out in turn, and every device has every block', async t => {
  const {devices, group} = makeGroup(3);
  await group.setBlock(0, {weight: new Float32Array(), bias: new Float32Array(), squeezeExcite: null});
  t.deepEqual(await runAll(group, [1, 2, 3, 4, 5, 6, 7]), [1, 2, 3, 4, 5, 6, 7]);
  t.deepEqual(
    devices.map(({batches}) => batches),
    [
      [1, 4, 7],
      [2, 5],
      [3, 6],
    ],
  );
  t.deepEqual(
    devices.map(({blocks}) => blocks),
    [1, 1, 1],
  );
  t.is(await group.measureRate(batch(5), 1, cancel), 15);
  await group.dispose();
  t.true(devices.every(({disposed}) => disposed));
});

test.serial('a device that fails is left out with one warning, and its batches run elsewhere', async t => {
  const warnings: Error[] = [];
  const listen = (warning: Error): number => warnings.push(warning);
  process.on('warning', listen);
  t.teardown(() => process.off('warning', listen));
  const {devices, group} = makeGroup(2);
  devices[0]!.failure = lost;
  t.deepEqual(await runAll(group, [1, 2, 3, 4]), [1, 2, 3, 4]);
  t.deepEqual(devices[0]!.batches, [1, 3]);
  t.deepEqual(devices[1]!.batches.toSorted(), [1, 2, 3, 4]);
  t.deepEqual(await runAll(group, [5, 6]), [5, 6]);
  t.deepEqual(devices[0]!.batches, [1, 3]);
  await new Promise(setImmediate);
  t.is(warnings.length, 1);
  t.like(warnings[0], {code: 'ERR_DEVICE_LOST'});
  t.regex(warnings[0]!.message, /^fake:0 is left out/);
});

test('without a device left, and for any other error, a run fails', async t => {
  const {devices, group} = makeGroup(2);
  devices[0]!.failure = new RepVGGError('ERR_OUT_OF_MEMORY', 'Too large.');
  await t.throwsAsync(runAll(group, [1]), {code: 'ERR_OUT_OF_MEMORY'});
  t.deepEqual(devices[1]!.batches, []);
  for (const device of devices) device.failure = lost;
  await t.throwsAsync(runAll(group, [1]), {code: 'ERR_DEVICE_LOST', message: /fake:0, fake:1/});
  const measured = group.measureRate(batch(1), 1, cancel);
  await t.throwsAsync(measured, {code: 'ERR_DEVICE_LOST', message: /fake:0, fake:1/});
  await group.dispose();
});

test('a model on a list of devices gives the results of one, in order', async t => {
  const inputs = Array.from({length: 3}, () => photos).flat();
  await using one = await RepVGG.load('digits', {device: 'cpu', batchSize: 2, threads: 1});
  await using two = await RepVGG.load('digits', {device: ['cpu', 'cpu'], batchSize: 2, threads: 1});
  t.deepEqual(two.device.members, ['cpu', 'cpu']);
  t.deepEqual(await two.logits(inputs), await one.logits(inputs));
  const both = await Promise.all([two.classify(inputs, {topK: 1}), two.classify(inputs, {topK: 1})]);
  t.deepEqual(both[0], both[1]);
  await two.dispose();
  await t.throwsAsync(two.logits(inputs), {code: 'ERR_DISPOSED'});
});

test.serial('each device of a call has its next batch before the last one is over', async t => {
  const addon = native();
  const {Network} = addon;
  t.teardown(() => {
    addon.Network = Network;
  });
  let [running, most] = [0, 0];
  addon.Network = class extends Network {
    override async run(...args: Parameters<NativeNetwork['run']>): Promise<Float32Array> {
      most = Math.max(most, ++running);
      try {
        return await super.run(...args);
      } finally {
        running--;
      }
    }
  };
  // Raw images are ready at once; their network takes longer.
  const image = {data: new Uint8Array(8 * 8 * 3), width: 8, height: 8, channels: 3} as const;
  const inputs = Array.from({length: 20}, () => image);
  for (const [device, expected] of [
    ['cpu', 2],
    [['cpu', 'cpu'] as DeviceList, 4],
  ] as const) {
    most = 0;
    await using model = await RepVGG.load('digits', {device, batchSize: 1, preprocessing: {crop: 96}});
    await model.logits(inputs);
    t.is(most, expected);
  }
});

test.serial(
  'where one device refuses the network, those before it give theirs back before the call fails',
  async t => {
    const addon = native();
    const {Network} = addon;
    t.teardown(() => {
      addon.Network = Network;
    });
    const [made, given]: string[][] = [[], []];
    addon.Network = class extends Network {
      constructor(...args: ConstructorParameters<typeof Network>) {
        if (made!.length === 2) throw Object.assign(new Error('Too large.'), {code: 'ERR_OUT_OF_MEMORY'});
        super(...args);
        made!.push(args[1].backend);
      }
      override async dispose(): Promise<void> {
        await super.dispose();
        given!.push('cpu');
      }
    };
    const loading = RepVGG.load('digits', {device: ['cpu', 'cpu', 'cpu'], threads: 1});
    await t.throwsAsync(loading, {code: 'ERR_OUT_OF_MEMORY', message: 'Too large.'});
    t.deepEqual(
      [made, given],
      [
        ['cpu', 'cpu'],
        ['cpu', 'cpu'],
      ],
    );
  },
);

test('a list of devices has names only, of one kind and of devices that are there', t => {
  const choose = (list: unknown): unknown => chooseDevice(list as DeviceList, 'auto');
  for (const list of [[], ['auto'], ['cpu', 'gpu'], ['cpu', 7]]) {
    t.throws(() => choose(list), {code: 'ERR_INVALID_ARGUMENT'}, JSON.stringify(list));
  }
  t.throws(() => choose(['cpu', 'cuda:99']), {code: 'ERR_DEVICE_UNAVAILABLE'});
});
