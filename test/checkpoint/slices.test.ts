/** Kernels that are fused while they are read from a file. */
import {readFile, truncate, writeFile} from 'node:fs/promises';
import test from 'ava';
import {type Architecture, blockShapes} from '../../ts/architecture.ts';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import type {FileRange} from '../../ts/checkpoint/file.ts';
import {type KernelFusion, plainFusion} from '../../ts/checkpoint/kernel_fusion.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {writeSafetensors} from '../../ts/checkpoint/write_safetensors.ts';
import {setParameters} from '../../ts/loading/load_network.ts';
import {NativeFusion} from '../../ts/loading/native_fusion.ts';
import {type NativeFileRange, type NativeNetwork, native, type Winograd} from '../../ts/native/addon.ts';
import {chooseDevice, type Precision} from '../../ts/native/device.ts';
import {createNetwork, toNativeShape} from '../../ts/native/native_network.ts';
import type {BlockParameters, DeployBlock} from '../../ts/network.ts';
import {
  collect,
  edit,
  memoryCheckpoint,
  networkFromCheckpoint,
  smallNetwork,
  stateDict,
  tensor,
} from '../checkpoints.ts';
import {dict, Folder, floats, pickle, tensor as pickledTensor, torchZip} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

/** 1.3 million numbers in the widest kernel: some dozens of slices, the last not full. */
const wide: Architecture = {...smallNetwork, widths: [8, 8, 12, 380, 380], groups: 1};
const widest = 'stage4.0.rbr_dense.conv.weight';
const indexOfWidest = 8;
const tensors = stateDict(wide, 'official', 'train').filter(({dtype}) => dtype === 'f32');

async function write(name: string, list: readonly TensorInfo[]): Promise<string> {
  const path = await folder.path(name);
  const writer = name.endsWith('.pth') ? writePyTorch : writeSafetensors;
  const toWrite = list.map(({name, shape, read}) => {
    const values = read as () => Promise<Float32Array>;
    return {name, shape, values};
  });
  await writer(path, toWrite);
  return path;
}

const means = (): Record<string, KernelFusion> => ({
  TypeScript: plainFusion,
  'the addon': new NativeFusion(),
});

function makeNetwork(
  architecture = wide,
  winograd: Winograd = 'off',
  precision: Precision = 'fp32',
): Promise<NativeNetwork> {
  const picture = {crop: 32, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]} as const;
  const shape = toNativeShape(architecture, 'deploy', picture);
  return createNetwork(shape, chooseDevice('cpu', precision), {batchSize: 1, winograd});
}

/** Also where the network has kernels as they are fused. */
const allMeans = async (): Promise<Record<string, KernelFusion>> => {
  const fusion = new NativeFusion();
  fusion.target = await makeNetwork();
  return {...means(), 'the addon, into a network': fusion};
};

async function fuse(path: string, kernels: KernelFusion): Promise<DeployBlock[]> {
  await using file = await openCheckpoint(path);
  return (await collect(networkFromCheckpoint(file, {}, kernels).blocks('deploy'))) as DeployBlock[];
}

/** Not t.deepEqual, which takes minutes for a million bytes. */
const same = (a: readonly DeployBlock[], b: readonly DeployBlock[]): boolean => {
  const bytes = (blocks: readonly DeployBlock[]): Buffer =>
    Buffer.concat(blocks.flatMap(({weight, bias}) => [Buffer.from(weight.buffer), Buffer.from(bias.buffer)]));
  return bytes(a).equals(bytes(b));
};

test('what is fused from a file is what is fused from memory', async t => {
  const network = networkFromCheckpoint(memoryCheckpoint(tensors));
  const expected = (await collect(network.blocks('deploy'))) as DeployBlock[];
  for (const name of ['sound.pth', 'sound.safetensors']) {
    const path = await write(name, tensors);
    for (const [by, kernels] of Object.entries(means())) {
      t.true(same(await fuse(path, kernels), expected), `${name} by ${by}`);
      await using file = await openCheckpoint(path);
      t.truthy(file.tensors.get(widest)!.locate);
      const again = networkFromCheckpoint(file, {}, kernels);
      await Promise.all([collect(again.blocks('deploy')), collect(again.blocks('deploy'))]);
    }
  }
});

test('the addon reads the kernels of a file itself', async t => {
  const read = (): Promise<Float32Array> => Promise.reject(new Error('read by others'));
  await using file = await openCheckpoint(await write('own.safetensors', tensors));
  const kernels = /rbr_(dense|1x1)\.conv/;
  const unreadable = [...file.tensors.values()].map(info =>
    kernels.test(info.name) ? {...info, read} : info,
  );
  const network = networkFromCheckpoint(memoryCheckpoint(unreadable), {}, new NativeFusion());
  await t.notThrowsAsync(collect(network.blocks('deploy')));
});

test('a network has what is fused into it as if it had been given it', async t => {
  const pixels = new Uint8Array(32 * 32 * 3).map((_, i) => (i * 7919) % 251);
  const run = async (network: NativeNetwork): Promise<Buffer> =>
    Buffer.from((await network.run({pixels, count: 1}, 'logits', new Uint8Array(1))).buffer);
  const architectures: Architecture[] = [
    wide,
    {...wide, widths: [5, 7, 16, 33, 100]},
    {...wide, widths: [8, 8, 12, 48, 132], groups: 2},
  ];
  for (const architecture of architectures) {
    const {widths} = architecture;
    const state = stateDict(architecture, 'official', 'train').filter(({dtype}) => dtype === 'f32');
    await using file = await openCheckpoint(await write(`network ${widths}.pth`, state));
    const [given, filled] = [await makeNetwork(architecture), await makeNetwork(architecture)];
    await setParameters(given, networkFromCheckpoint(file), 'deploy');
    const fusion = new NativeFusion();
    let sinks = 0;
    const noted = {
      ...networkFromCheckpoint(file, {}, fusion),
      async *blocks(): AsyncGenerator<BlockParameters> {
        for await (const block of networkFromCheckpoint(file, {}, fusion).blocks('deploy')) {
          if ((block as DeployBlock).weight.length === 0) sinks++;
          yield block;
        }
      },
    };
    await setParameters(filled, noted, 'deploy', {fusion});
    t.is(sinks, blockShapes(architecture).length);
    t.true((await run(filled)).equals(await run(given)), `${widths}`);
    await Promise.all([given.dispose(), filled.dispose()]);
  }
});

test('only a network that convolves directly takes kernels one by one', async t => {
  for (const winograd of ['auto', 'f2', 'f4'] as const)
    t.is((await makeNetwork(wide, winograd)).makeSink(0), null);
  // fp8 scales all kernels of a block together.
  t.is((await makeNetwork(wide, 'off', 'fp8-simulated')).makeSink(0), null);
  const network = await makeNetwork();
  await using file = await openCheckpoint(await write('sink.safetensors', tensors));
  const [dense, pointwise] = await Promise.all(
    [widest, 'stage4.0.rbr_1x1.conv.weight'].map(name => file.tensors.get(name)!.locate!()),
  );
  const ones = new Float64Array(380).fill(1);
  const factors = {dense: ones, pointwise: ones, identity: null};
  const sink = network.makeSink(indexOfWidest)!;
  const fuse = (first: number, count: number, width: number): Promise<unknown> | null =>
    file.tensors.get(widest)!.locate!().then(({file}) =>
      file.lend(descriptor => {
        const of = ({position}: FileRange): NativeFileRange => ({descriptor, position, checksum: false});
        const cancel = new Uint8Array(1);
        return native().fuseFile(sink, of(dense!), of(pointwise!), factors, first, count, width, cancel);
      }),
    );
  t.like(await fuse(10, 370, 380), {finite: true});
  const message = 'Expected arrays of the lengths of one block.';
  for (const [first, count, width] of [
    [11, 370, 380],
    [0, 381, 380],
    [-1, 2, 380],
    [0, -1, 380],
    [0, 1, 379],
  ] as const)
    await t.throwsAsync(async () => fuse(first, count, width), {message});
  await network.dispose();
  await t.throwsAsync(async () => fuse(0, 1, 380), {message});
});

for (const name of [widest, 'stage4.0.rbr_1x1.conv.weight']) {
  test(`the checksum of ${name} is verified`, async t => {
    const path = await write(`damaged ${name}.pth`, tensors);
    const content = await readFile(path);
    const info = tensors.find(tensor => tensor.name === name)!;
    const values = Buffer.from((await info.read()).buffer);
    const at = content.indexOf(values.subarray(-64));
    content[at + 1]! ^= 1;
    await writeFile(path, content);
    for (const kernels of Object.values(await allMeans())) {
      const error = {code: 'ERR_CHECKPOINT_CORRUPT', message: /does not match its checksum/};
      await t.throwsAsync(fuse(path, kernels), error);
    }
  });
}

test('a value that is not finite is named with its tensor, wherever it is', async t => {
  for (const [name, index] of [
    [widest, 380 * 380 * 9 - 1],
    ['stage4.0.rbr_1x1.conv.weight', 7],
  ] as const) {
    const info = tensors.find(tensor => tensor.name === name)!;
    const values = await info.read();
    values[index] = NaN;
    const path = await write('nan.safetensors', edit(tensors, name, tensor(name, info.shape, values)));
    for (const kernels of Object.values(await allMeans())) {
      await t.throwsAsync(fuse(path, kernels), {
        code: 'ERR_CHECKPOINT_VALUE',
        message: new RegExp(`tensor "${name.replaceAll('.', '\\.')}" .* received NaN at index ${index}`),
      });
    }
  }
});

test('a file that is cut or closed while it is read is told', async t => {
  const path = await write('cut.safetensors', tensors);
  for (const kernels of Object.values(await allMeans())) {
    await using file = await openCheckpoint(path);
    const blocks = networkFromCheckpoint(file, {}, kernels).blocks('deploy');
    const closeAndGoOn = async (): Promise<void> => {
      for await (const _ of blocks) await file.close();
    };
    await t.throwsAsync(closeAndGoOn(), {code: 'ERR_DISPOSED'});
  }
  for (const [i, kernels] of Object.values(await allMeans()).entries()) {
    const other = await write(`cut${i}.safetensors`, tensors);
    await using file = await openCheckpoint(other);
    await truncate(other, 1e6);
    const network = networkFromCheckpoint(file, {}, kernels);
    await t.throwsAsync(collect(network.blocks('deploy')), {code: 'ERR_CHECKPOINT_TRUNCATED'});
  }
});

test('a signal ends the reading of a block', async t => {
  for (const kernels of Object.values(await allMeans())) {
    await using file = await openCheckpoint(await write('signal.safetensors', tensors));
    const controller = new AbortController();
    const factors = {
      dense: new Float64Array(380),
      pointwise: new Float64Array(380),
      identity: null,
      bias: new Float32Array(380),
    };
    const [dense, pointwise] = [widest, 'stage4.0.rbr_1x1.conv.weight'].map(name => file.tensors.get(name)!);
    const fusing = kernels.fuse(indexOfWidest, dense!, pointwise!, factors, controller.signal);
    controller.abort(new Error('enough'));
    await t.throwsAsync(fusing, {message: 'enough'});
  }
});

test('only what is stored as it is read is located', async t => {
  const part = async (path: string, name = 'x'): Promise<unknown> => {
    await using file = await openCheckpoint(path);
    const range = await file.tensors.get(name)!.locate?.();
    if (!range) return null;
    const target = new Float32Array(2);
    await range.file.readInto(new Uint8Array(target.buffer), range.position + 4, 'x');
    return [...target];
  };

  const object = (shape: number[], stride: number[], type = 'FloatStorage'): Buffer =>
    pickle(
      dict({x: pickledTensor({type, length: 6, offset: type === 'FloatStorage' ? 1 : 0, shape, stride})}),
    );
  const storages = {0: floats(1, 2, 3, 4, 5, 6)};
  const zip = (...args: Parameters<typeof object>): Promise<string> =>
    folder.write(torchZip(object(...args), storages));
  t.deepEqual(await part(await zip([4], [1])), [3, 4]);
  t.is(await part(await zip([2, 2], [1, 2])), null);
  t.is(
    await part(await folder.write(torchZip(object([4], [1]), storages, {'data/0': {deflate: true}}))),
    null,
  );
  t.is(
    await part(
      await folder.write(torchZip(object([4], [1]), storages, {byteorder: {data: Buffer.from('big')}})),
    ),
    null,
  );
  t.is(
    await part(await folder.write(torchZip(object([3], [1], 'DoubleStorage'), {0: Buffer.alloc(48)}))),
    null,
  );
});
