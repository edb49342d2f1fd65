/** Kernels that are fused while they are read, in slices of a file. */
import {readFile, writeFile} from 'node:fs/promises';
import test from 'ava';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {networkFromCheckpoint} from '../../ts/checkpoint/network.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {writeSafetensors} from '../../ts/checkpoint/write_safetensors.ts';
import type {DeployBlock} from '../../ts/network.ts';
import {collect, edit, memoryCheckpoint, smallNetwork, stateDict, tensor} from '../checkpoints.ts';
import {dict, Folder, floats, pickle, tensor as pickledTensor, torchZip} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

/** 1.3 million numbers in the widest kernel: five slices, the last not full. */
const wide = {...smallNetwork, widths: [8, 8, 12, 380, 380] as const, groups: 1};
const widest = 'stage4.0.rbr_dense.conv.weight';
const tensors = stateDict(wide, 'official', 'train').filter(({dtype}) => dtype === 'f32');

async function write(name: string, list: readonly TensorInfo[]): Promise<string> {
  const path = await folder.path(name);
  const writer = name.endsWith('.pth') ? writePyTorch : writeSafetensors;
  const toWrite = list.map(({name, shape, read}) => {
    const values = read as () => Promise<Float32Array>;
    return {name, shape, dtype: 'f32' as const, values};
  });
  await writer(path, toWrite);
  return path;
}

async function fuse(path: string): Promise<DeployBlock[]> {
  await using file = await openCheckpoint(path);
  return (await collect(networkFromCheckpoint(file).blocks('deploy'))) as DeployBlock[];
}

/** Not t.deepEqual, which takes minutes for a million bytes. */
const same = (a: readonly DeployBlock[], b: readonly DeployBlock[]): boolean => {
  const bytes = (blocks: readonly DeployBlock[]): Buffer =>
    Buffer.concat(blocks.flatMap(({weight, bias}) => [Buffer.from(weight.buffer), Buffer.from(bias.buffer)]));
  return bytes(a).equals(bytes(b));
};

test('what is fused from slices of a file is what is fused from memory', async t => {
  const network = networkFromCheckpoint(memoryCheckpoint(tensors));
  const expected = (await collect(network.blocks('deploy'))) as DeployBlock[];
  for (const name of ['sound.pth', 'sound.safetensors']) {
    const path = await write(name, tensors);
    await using file = await openCheckpoint(path);
    t.truthy(file.tensors.get(widest)!.readInto);
    t.true(same(await fuse(path), expected), name);
    const again = networkFromCheckpoint(file);
    await Promise.all([collect(again.blocks('deploy')), collect(again.blocks('deploy'))]);
  }
});

test('a large kernel is read in slices and never whole', async t => {
  const lengths: number[] = [];
  const sliced = tensors.map((info): TensorInfo => {
    if (info.name !== widest) return info;
    const readInto = async (target: Float32Array, first: number): Promise<void> => {
      lengths.push(target.length);
      target.set((await info.read()).subarray(first, first + target.length));
    };
    return {...info, readInto, read: () => Promise.reject(new Error('read whole'))};
  });
  await collect(networkFromCheckpoint(memoryCheckpoint(sliced)).blocks('deploy'));
  t.is(lengths.length, 5);
  t.is(
    lengths.reduce((a, b) => a + b),
    380 * 380 * 9,
  );
  t.true(lengths.every(length => length <= 2 ** 18));
});

test('a checksum is verified over all slices', async t => {
  const path = await write('damaged.pth', tensors);
  const content = await readFile(path);
  const info = tensors.find(({name}) => name === widest)!;
  const values = Buffer.from((await info.read()).buffer);
  const at = content.indexOf(values.subarray(-64));
  content[at + 1]! ^= 1;
  await writeFile(path, content);
  await t.throwsAsync(fuse(path), {code: 'ERR_CHECKPOINT_CORRUPT', message: /does not match its checksum/});
});

test('a value that is not finite is named with its tensor, wherever it is', async t => {
  for (const [name, index] of [
    [widest, 380 * 380 * 9 - 1],
    ['stage4.0.rbr_1x1.conv.weight', 7],
  ] as const) {
    const info = tensors.find(tensor => tensor.name === name)!;
    const values = await info.read();
    values[index] = NaN;
    const path = await write('nan.safetensors', edit(tensors, name, tensor(name, info.shape, values)));
    await t.throwsAsync(fuse(path), {
      code: 'ERR_CHECKPOINT_VALUE',
      message: new RegExp(`tensor "${name.replaceAll('.', '\\.')}" .* received NaN at index ${index}`),
    });
  }
});

test('only what is stored as it is read can be had in parts', async t => {
  const part = async (path: string, name = 'x'): Promise<unknown> => {
    await using file = await openCheckpoint(path);
    const {readInto} = file.tensors.get(name)!;
    if (!readInto) return null;
    const target = new Float32Array(2);
    await readInto(target, 1);
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
