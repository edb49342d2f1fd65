/** Kernels that are fused while they are read from a file. */
import {readFile, truncate, writeFile} from 'node:fs/promises';
import test from 'ava';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {networkFromCheckpoint} from '../../ts/checkpoint/network.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {writeSafetensors} from '../../ts/checkpoint/write_safetensors.ts';
import {type FusionKernels, plainFusion} from '../../ts/fuse_rows.ts';
import {NativeFusion} from '../../ts/native_fusion.ts';
import type {DeployBlock} from '../../ts/network.ts';
import {collect, edit, memoryCheckpoint, smallNetwork, stateDict, tensor} from '../checkpoints.ts';
import {dict, Folder, floats, pickle, tensor as pickledTensor, torchZip} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

/** 1.3 million numbers in the widest kernel: some dozens of slices, the last not full. */
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

const means = (): Record<string, FusionKernels> => ({
  TypeScript: plainFusion,
  'the addon': new NativeFusion(),
});

async function fuse(path: string, kernels: FusionKernels): Promise<DeployBlock[]> {
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

for (const name of [widest, 'stage4.0.rbr_1x1.conv.weight']) {
  test(`the checksum of ${name} is verified`, async t => {
    const path = await write(`damaged ${name}.pth`, tensors);
    const content = await readFile(path);
    const info = tensors.find(tensor => tensor.name === name)!;
    const values = Buffer.from((await info.read()).buffer);
    const at = content.indexOf(values.subarray(-64));
    content[at + 1]! ^= 1;
    await writeFile(path, content);
    for (const kernels of Object.values(means())) {
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
    for (const kernels of Object.values(means())) {
      await t.throwsAsync(fuse(path, kernels), {
        code: 'ERR_CHECKPOINT_VALUE',
        message: new RegExp(`tensor "${name.replaceAll('.', '\\.')}" .* received NaN at index ${index}`),
      });
    }
  }
});

test('a file that is cut or closed while it is read is told', async t => {
  const path = await write('cut.safetensors', tensors);
  for (const kernels of Object.values(means())) {
    await using file = await openCheckpoint(path);
    const blocks = networkFromCheckpoint(file, {}, kernels).blocks('deploy');
    const closeAndGoOn = async (): Promise<void> => {
      for await (const _ of blocks) await file.close();
    };
    await t.throwsAsync(closeAndGoOn(), {code: 'ERR_DISPOSED'});
  }
  for (const [i, kernels] of Object.values(means()).entries()) {
    const other = await write(`cut${i}.safetensors`, tensors);
    await using file = await openCheckpoint(other);
    await truncate(other, 1e6);
    const network = networkFromCheckpoint(file, {}, kernels);
    await t.throwsAsync(collect(network.blocks('deploy')), {code: 'ERR_CHECKPOINT_TRUNCATED'});
  }
});

test('a signal ends the reading of a block', async t => {
  for (const kernels of Object.values(means())) {
    await using file = await openCheckpoint(await write('signal.safetensors', tensors));
    const controller = new AbortController();
    const factors = {
      dense: new Float64Array(380),
      pointwise: new Float64Array(380),
      identity: null,
      bias: new Float32Array(380),
    };
    const [dense, pointwise] = [widest, 'stage4.0.rbr_1x1.conv.weight'].map(name => file.tensors.get(name)!);
    const fusing = kernels.fuse(dense!, pointwise!, factors, controller.signal);
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
