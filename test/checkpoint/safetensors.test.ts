import {mkdir, readFile, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import type {TensorToWrite} from '../../ts/checkpoint/state_dict.ts';
import {writeSafetensors} from '../../ts/checkpoint/write_safetensors.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {dict, Folder, floats, pickle, safetensors, tensor, torchZip} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

type Row = [name: string, dtype: string, shape: readonly number[], values: number[]];

async function readAll(path: string): Promise<Row[]> {
  await using checkpoint = await openCheckpoint(path);
  const rows: Row[] = [];
  for (const {name, dtype, shape, read} of checkpoint.tensors.values())
    rows.push([name, dtype, shape, Array.from(await read())]);
  return rows;
}

const byName = (rows: Row[]): Row[] => rows.toSorted(([a], [b]) => (a < b ? -1 : 1));

test('the files of the safetensors library hold what PyTorch files hold', async t => {
  for (const name of ['narrow.official', 'narrow.half']) {
    const rows = await readAll(fixture(`${name}.safetensors`));
    t.deepEqual(byName(rows), byName(await readAll(fixture(`${name}.zip.pth`))));
  }
});

test('the parts of a sharded checkpoint are read beside its index', async t => {
  const index = fixture('sharded/model.safetensors.index.json');
  t.deepEqual(byName(await readAll(index)), byName(await readAll(fixture('narrow.timm.zip.pth'))));
});

test("the parts of a sharded checkpoint may be PyTorch's files, or some of them", async t => {
  const part = (key: string): Buffer =>
    torchZip(pickle(dict({[key]: tensor({length: 2, shape: [2]})})), {0: floats(1, 2)});
  const parts = {
    '1.bin': part('module.a'),
    '2.bin': part('b'),
    '3.safetensors': safetensors({c: {dtype: 'F32', shape: [2], data_offsets: [0, 8]}}, floats(3, 4)),
  };
  const weight_map = {'module.a': '1.bin', b: '2.bin', c: '3.safetensors'};
  const index = await folder.path('parts/pytorch_model.bin.index.json');
  await mkdir(dirname(index), {recursive: true});
  await writeFile(index, JSON.stringify({metadata: {total_size: 24}, weight_map}));
  for (const [name, bytes] of Object.entries(parts)) await writeFile(join(dirname(index), name), bytes);
  t.deepEqual(await readAll(index), [
    ['a', 'f32', [2], [1, 2]],
    ['b', 'f32', [2], [1, 2]],
    ['c', 'f32', [2], [3, 4]],
  ]);
});

test('every kind of element, scalars and empty tensors, in any order', async t => {
  const header = {
    __metadata__: {format: 'pt', 'a "quoted\\" key': '}{'},
    f64: {dtype: 'F64', shape: [1], data_offsets: [8, 16]},
    i64: {dtype: 'I64', shape: [], data_offsets: [0, 8]},
    none: {dtype: 'F32', shape: [0, 7], data_offsets: [16, 16]},
    f16: {dtype: 'F16', shape: [2], data_offsets: [16, 20]},
    bf16: {dtype: 'BF16', shape: [1, 1], data_offsets: [20, 22]},
    u8: {data_offsets: [22, 23], shape: [1], dtype: 'U8'},
    bool: {dtype: 'BOOL', shape: [1], data_offsets: [23, 24]},
    'module.__proto__': {dtype: 'F32', shape: [1], data_offsets: [24, 28]},
  };
  const data = Buffer.alloc(28);
  data.writeBigInt64LE(-5n, 0);
  data.writeDoubleLE(0.1, 8);
  data.writeUInt16LE(0x3c00, 16);
  data.writeUInt16LE(0xc000, 18);
  data.writeUInt16LE(0x3f80, 20);
  data.set([255, 3], 22);
  data.writeFloatLE(7, 24);
  const path = await folder.write(safetensors(header, data));
  t.deepEqual(await readAll(path), [
    ['f64', 'f64', [1], [0.1]],
    ['i64', 'i64', [], [-5]],
    ['none', 'f32', [0, 7], []],
    ['f16', 'f16', [2], [1, -2]],
    ['bf16', 'bf16', [1, 1], [1]],
    ['u8', 'u8', [1], [255]],
    ['bool', 'bool', [1], [1]],
    ['__proto__', 'f32', [1], [7]],
  ]);
});

test('a header whose length begins as a zip does', async t => {
  const header = JSON.stringify({w: {dtype: 'F32', shape: [2], data_offsets: [0, 8]}});
  for (const length of [0x4b50, 0x14b50]) {
    const bytes = safetensors(header.padEnd(length), floats(1, 2));
    t.is(bytes.toString('latin1', 0, 2), 'PK');
    await using checkpoint = await openCheckpoint(await folder.write(bytes));
    t.is(checkpoint.format, 'safetensors');
    t.deepEqual(await checkpoint.tensors.get('w')!.read(), Float32Array.of(1, 2));
  }
});

test('only the tensors that an index lists are taken, and other members are passed over', async t => {
  const path = await folder.path('listed/x.index.json');
  await mkdir(dirname(path));
  const entry = (at: number): object => ({dtype: 'F32', shape: [1], data_offsets: [at, at + 4]});
  await writeFile(
    join(dirname(path), 'part'),
    safetensors({a: entry(0), b: entry(4), 'b:c': entry(8)}, floats(1, 2, 3)),
  );
  const json =
    ' {"metadata": {"total_size": 8, "x": [1, {"y": "]"}, -1e3, null], "z": {}},\n"weight_map": {"b:c": "part", "a": "part"}}\n';
  await writeFile(path, json);
  t.deepEqual(await readAll(path), [
    ['b:c', 'f32', [1], [3]],
    ['a', 'f32', [1], [1]],
  ]);
});

test('what is written is read back bit for bit, and is laid out as the library lays it out', async t => {
  const path = await folder.path('written.safetensors');
  const toWrite = (name: string, shape: number[], ...values: number[]): TensorToWrite => ({
    name,
    shape,
    values: async () => Float32Array.from(values),
  });
  const tensors = [
    toWrite('a.weight', [2, 1], 1, -0),
    toWrite('__proto__', [], NaN),
    toWrite('"é\n', [0, 3]),
    toWrite('7', [1], 1e-40),
  ];
  await writeSafetensors(path, tensors);
  t.deepEqual(await readAll(path), [
    ['a.weight', 'f32', [2, 1], [1, -0]],
    ['__proto__', 'f32', [], [NaN]],
    ['"é\n', 'f32', [0, 3], []],
    ['7', 'f32', [1], [Math.fround(1e-40)]],
  ]);
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE());
  t.is(length % 8, 0);
  t.is(bytes.length, 8 + length + 16);
  t.true(bytes.toString('utf8', 8, 8 + length).startsWith('{"__metadata__":{"format":"pt"},"a.weight":'));
  await t.throwsAsync(writeSafetensors(path, [toWrite('a', [3], 1, 2)]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'Expected 3 numbers for the values of a but received 2.',
  });
  await t.throwsAsync(writeSafetensors(path, [tensors[0]!, tensors[0]!]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /different names/,
  });
  t.true((await readFile(path)).equals(bytes));
});
