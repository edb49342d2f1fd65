import test from 'ava';
import type {Checkpoint} from '../../ts/checkpoint/checkpoint.ts';
import type {DType} from '../../ts/checkpoint/element_types.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {checkpointStructure} from '../../ts/checkpoint/structure.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {
  concat,
  dict,
  Folder,
  floats,
  int,
  list,
  pickle,
  storage,
  tensor,
  text,
  torchLegacy,
  torchZip,
  tuple,
} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

async function values(checkpoint: Checkpoint, name: string): Promise<number[]> {
  return Array.from(await checkpoint.tensors.get(name)!.read());
}

async function readAll(path: string): Promise<Record<string, [shape: readonly number[], values: number[]]>> {
  await using checkpoint = await openCheckpoint(path);
  const all: Record<string, [readonly number[], number[]]> = {};
  for (const {name, shape} of checkpoint.tensors.values())
    all[name] = [shape, await values(checkpoint, name)];
  return all;
}

test('the zip and the legacy container hold the same tensors', async t => {
  const zip = await readAll(fixture('narrow.official.zip.pth'));
  t.is(Object.keys(zip).length, 147);
  t.deepEqual(await readAll(fixture('narrow.official.legacy.pth')), zip);
});

test('wrappers and prefixes are removed, and channels_last strides undone', async t => {
  const official = await readAll(fixture('narrow.official.zip.pth'));
  t.deepEqual(Object.keys(await readAll(fixture('narrow.training.zip.pth'))), Object.keys(official));
  t.deepEqual(Object.keys(await readAll(fixture('narrow.ema.zip.pth'))), Object.keys(official));
  t.deepEqual(await readAll(fixture('narrow.channels-last.zip.pth')), official);
});

test('a state dict of each kind of element', async t => {
  const big = Buffer.alloc(16);
  big.writeBigInt64LE(-5n, 0);
  big.writeBigInt64LE(2n ** 24n, 8);
  const half = Buffer.from(Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x7c00, 0xfe00).buffer);
  const kinds: [type: string, bytes: Buffer, expected: number[], dtype: DType][] = [
    ['FloatStorage', floats(1.5, -0.1), [1.5, Math.fround(-0.1)], 'f32'],
    ['DoubleStorage', Buffer.from(Float64Array.of(0.1, -1e300).buffer), [0.1, -1e300], 'f64'],
    ['HalfStorage', half, [1, -2, 65504, 2 ** -24, -1023 * 2 ** -24, Infinity, NaN], 'f16'],
    [
      'BFloat16Storage',
      Buffer.from(Uint16Array.of(0x3f80, 0xc049, 0x7f80).buffer),
      [1, -3.140625, Infinity],
      'bf16',
    ],
    ['LongStorage', big, [-5, 2 ** 24], 'i64'],
    ['IntStorage', Buffer.from(Int32Array.of(-7, 9).buffer), [-7, 9], 'i32'],
    ['ShortStorage', Buffer.from(Int16Array.of(-300, 9).buffer), [-300, 9], 'i16'],
    ['CharStorage', Buffer.from(Int8Array.of(-128, 127).buffer), [-128, 127], 'i8'],
    ['ByteStorage', Buffer.of(0, 255), [0, 255], 'u8'],
    ['BoolStorage', Buffer.of(0, 1, 255), [0, 1, 1], 'bool'],
  ];
  for (const [type, bytes, expected, dtype] of kinds) {
    const {length} = expected;
    const object = pickle(dict({x: tensor({type, length, shape: [length]})}));
    const swapped = Buffer.from(bytes);
    const size = bytes.length / length;
    if (size === 2) swapped.swap16();
    if (size === 4) swapped.swap32();
    if (size === 8) swapped.swap64();
    for (const file of [
      torchZip(object, {0: bytes}),
      torchZip(object, {0: swapped}, {byteorder: {data: Buffer.from('big')}}),
      torchZip(object, {0: bytes}, {'data/0': {deflate: true}}),
      torchLegacy(object, {0: {bytes, length}}),
    ]) {
      await using checkpoint = await openCheckpoint(await folder.write(file));
      t.is(checkpoint.tensors.get('x')?.dtype, dtype);
      t.deepEqual(await values(checkpoint, 'x'), expected, type);
      t.is(
        (await checkpoint.tensors.get('x')!.read()).constructor,
        dtype === 'f64' ? Float64Array : Float32Array,
      );
    }
  }
});

test('views of one storage: offset, transposed, stepped, scalar and empty', async t => {
  const length = 12;
  const object = pickle(
    dict({
      offset: tensor({length, offset: 3, shape: [2, 2]}),
      transposed: tensor({length, shape: [4, 3], stride: [1, 4]}),
      stepped: tensor({length, offset: 1, shape: [3], stride: [4]}),
      scalar: tensor({length, offset: 11, shape: []}),
      empty: tensor({length, offset: 12, shape: [0, 3]}),
      loose: tensor({length, shape: [1, 12, 1], stride: [99, 1, 99]}),
    }),
  );
  const bytes = floats(...Array(length).keys());
  for (const file of [torchZip(object, {0: bytes}), torchLegacy(object, {0: {bytes, length}})]) {
    t.deepEqual(await readAll(await folder.write(file)), {
      offset: [
        [2, 2],
        [3, 4, 5, 6],
      ],
      transposed: [
        [4, 3],
        [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
      ],
      stepped: [[3], [1, 5, 9]],
      scalar: [[], [11]],
      empty: [[0, 3], []],
      loose: [[1, 12, 1], [...Array(length).keys()]],
    });
  }
});

test('a legacy storage that is a part of another', async t => {
  const part = tuple(text('view'), int(2), int(3));
  const object = pickle(
    dict({
      x: tensor({length: 6, part, offset: 1, shape: [2]}),
      y: tensor({length: 6, part: 'N', shape: [6]}),
    }),
  );
  const file = torchLegacy(object, {0: {bytes: floats(0, 1, 2, 3, 4, 5), length: 6}});
  t.deepEqual(await readAll(await folder.write(file)), {x: [[2], [3, 4]], y: [[6], [0, 1, 2, 3, 4, 5]]});
});

test('the averaged weights of a training checkpoint come first, as in timm', async t => {
  const one = (key: string): Buffer => dict({'module._orig_mod.w': tensor({key, length: 1, shape: [1]})});
  const storages = {0: floats(0), 1: floats(1)};
  for (const [first, second] of [
    ['state_dict_ema', 'model_ema'],
    ['model_ema', 'ema'],
    ['ema', 'state_dict'],
    // mmengine's, which swaps the two.
    ['state_dict', 'ema_state_dict'],
    ['ema_state_dict', 'model'],
    ['model', 'model_state_dict'],
    ['model_state_dict', 'other'],
  ] as const) {
    const path = await folder.write(
      torchZip(pickle(dict({[second]: one('1'), [first]: one('0')})), storages),
    );
    t.deepEqual(await readAll(path), {w: [[1], [0]]}, first);
  }
  const withoutAverage = dict({model_ema: 'N', state_dict: one('1')});
  t.deepEqual(await readAll(await folder.write(torchZip(pickle(withoutAverage), storages))), {w: [[1], [1]]});
});

test('a missing tensor of averaged weights is missing there, whatever else the file has', async t => {
  const part = dict({'stage0.rbr_dense.conv.weight': tensor({length: 1, shape: [1, 1, 1, 1]})});
  for (const key of ['ema', 'net']) {
    const bytes = torchZip(pickle(dict({epoch: int(1), [key]: part})), {0: floats(1)});
    await using checkpoint = await openCheckpoint(await folder.write(bytes));
    const message = /Expected tensor .* but its 1 tensors under "(ema|net)" do not include it;/;
    t.throws(() => checkpointStructure(checkpoint), {code: 'ERR_CHECKPOINT_MISSING_TENSOR', message}, key);
  }
});

test('a state dict under any name, where there is no other', async t => {
  const one = dict({w: tensor({length: 1, shape: [1]}), n_averaged: tensor({length: 1, shape: []})});
  const optimizer = dict({state: dict({0: dict({momentum: tensor({length: 1, shape: [1]})})})});
  const file = (entries: Record<string, Buffer>): Promise<string> =>
    folder.write(torchZip(pickle(dict({epoch: int(1), optimizer, ...entries})), {0: floats(7)}));
  t.deepEqual(await readAll(await file({net: one})), {w: [[1], [7]]});
  await t.throwsAsync(file({net: one, teacher: one}).then(readAll), {
    code: 'ERR_CHECKPOINT_FORMAT',
    message: /expected one state dict but found 2, under net, teacher, so save the one/,
  });
});

test('entries that are not tensors are left out', async t => {
  const parameter = concat(
    'ctorch._utils\n_rebuild_parameter\n',
    tuple(tensor({length: 2, shape: [2]}), '\x88', 'ccollections\nOrderedDict\n)R'),
    'R',
  );
  const object = pickle(
    dict({
      parameter,
      none: 'N',
      storage: storage({length: 2, shape: []}),
      nested: dict({inner: tensor({length: 2, shape: [2]})}),
      settings: list(int(1), text('x'), 'ctorch\nfloat16\n'),
    }),
  );
  t.deepEqual(await readAll(await folder.write(torchZip(object, {0: floats(1, 2)}))), {
    parameter: [[2], [1, 2]],
  });
});

test('__proto__ is a name like any other', async t => {
  const object = pickle(
    dict({['__proto__']: tensor({length: 1, shape: [1]}), w: tensor({length: 1, shape: [1]})}),
  );
  await using checkpoint = await openCheckpoint(await folder.write(torchZip(object, {0: floats(7)})));
  t.deepEqual([...checkpoint.tensors.keys()], ['__proto__', 'w']);
  t.false('shape' in {});
});

test('a stored tensor is read from its own range of a shared storage', async t => {
  const object = pickle(
    dict({whole: tensor({length: 4, shape: [4]}), half: tensor({length: 4, offset: 2, shape: [2]})}),
  );
  const file = torchZip(object, {0: floats(1, 2, 3, 4)}, {'data/0': {crc: 1}});
  await using checkpoint = await openCheckpoint(await folder.write(file));
  t.deepEqual(await values(checkpoint, 'half'), [3, 4]);
  await t.throwsAsync(values(checkpoint, 'whole'), {
    code: 'ERR_CHECKPOINT_CORRUPT',
    message: /data\/0 does not match its checksum/,
  });
});

test('tensors can be read at the same time', async t => {
  await using checkpoint = await openCheckpoint(fixture('narrow.official.zip.pth'));
  const all = await Promise.all([...checkpoint.tensors.values()].map(({read}) => read()));
  const expected = Object.values(await readAll(fixture('narrow.official.legacy.pth')));
  t.deepEqual(
    all.map(array => Array.from(array)),
    expected.map(([, array]) => array),
  );
});

test('files of torch.serialization.set_crc32_options(False) have no checksums', async t => {
  const object = pickle(dict({x: tensor({length: 1, shape: [1]})}));
  const file = torchZip(object, {0: floats(3)}, {'data/0': {crc: 0}, 'data.pkl': {crc: 0}});
  t.deepEqual(await readAll(await folder.write(file)), {x: [[1], [3]]});
});

test('a closed checkpoint cannot be read', async t => {
  const checkpoint = await openCheckpoint(fixture('narrow.deploy.zip.pth'));
  t.is(checkpoint.format, 'PyTorch zip');
  await checkpoint.close();
  await checkpoint.close();
  await t.throwsAsync(values(checkpoint, 'linear.bias'), {
    code: 'ERR_DISPOSED',
    message: /narrow\.deploy\.zip\.pth is closed/,
  });
});
