/** Files of very many small things cost time by their number, not by its square. */
import test from 'ava';
import {
  concat,
  dict,
  field,
  floats,
  int,
  onnx,
  pickle,
  safetensors,
  tensor,
  text,
  torchLegacy,
  torchZip,
  u32,
} from './build.ts';
import {parameter, tarStorage, torchTar} from './build_others.ts';
import {folder, inZip, legacy, openAndReadAll, refusal} from './refusal.ts';

const each = (count: number, make: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({length: count}, (_, i) => make(i)));

/** The opcode LONG1 of an integer of 12 bytes. V8 hashes a bigint by its lowest 64 bits alone. */
function long(low: number, high: number): Buffer {
  const bytes = Buffer.alloc(14);
  bytes.set([0x8a, 12]);
  bytes.writeUInt32LE(low, 2);
  bytes.writeUInt32LE(high, 10);
  return bytes;
}

const alike = (i: number): Buffer => long(1, i + 1);
const different = (i: number): Buffer => long(i + 1, 1);

/** The rest is a state dict of one tensor, so that the file is read to its end. */
const beside = (value: Buffer): Buffer =>
  inZip(pickle(dict({x: tensor({length: 4, shape: [4]}), beside: value})));
const items = (numbers: Buffer[]): Buffer => Buffer.concat(numbers.map(number => concat(number, 'N\x86')));

for (const [what, object] of Object.entries<(numbers: Buffer[]) => Buffer>({
  'keys of a dict': numbers => concat('}(', ...numbers.map(number => concat(number, 'N')), 'u'),
  'keys of a dict set one by one': numbers => concat('}', ...numbers.map(number => concat(number, 'Ns'))),
  'keys of a DICT': numbers => concat('(', ...numbers.map(number => concat(number, 'N')), 'd'),
  'members of a set': numbers => concat('\x8f(', ...numbers, '\x90'),
  'members of a frozen set': numbers => concat('(', ...numbers, '\x91'),
  'members of a set by a call': numbers => concat('cbuiltins\nset\n](', ...numbers, 'e\x85R'),
  'items of an ordered dict': numbers => concat('ccollections\nOrderedDict\n](', items(numbers), 'e\x85R'),
})) {
  test.serial(`integers that V8 hashes alike as ${what}`, async t => {
    const time = async (number: (i: number) => Buffer): Promise<number> => {
      const path = await folder.write(beside(object(Array.from({length: 40_000}, (_, i) => number(i)))));
      const start = performance.now();
      await openAndReadAll(path);
      return performance.now() - start;
    };
    await time(different); // Compiles.
    const ordinary = await time(different);
    // Where they collide, some hundred times as much.
    t.true((await time(alike)) < 10 * ordinary + 300);
  });
}

for (const [what, put] of Object.entries({
  large: (i: number) => concat('r', u32((i + 1) << 17)),
  negative: (i: number) => concat(`p-${i + 1}\n`),
  fractional: (i: number) => concat(`p${i}.5\n`),
})) {
  test(
    `a memo with ${what} numbers`,
    refusal,
    () => inZip(pickle(concat('N', each(10, put)))),
    'ERR_CHECKPOINT_CORRUPT',
    /its pickle keeps a value where no writer would/,
  );
}

const many = 20_001;
const tooMany = /it has more than 20,000 tensors, where a network has some thousands\.$/;
for (const [container, make] of Object.entries<(count: number) => Buffer>({
  'a zip, of one tensor': count =>
    inZip(
      pickle(
        concat(
          tensor({length: 4, shape: [4]}),
          'q\x010}(',
          each(count, i => concat(text(`x${i}`), 'h\x01')),
          'u',
        ),
      ),
    ),
  safetensors: count =>
    safetensors(
      Object.fromEntries(
        Array.from({length: count}, (_, i) => [`x${i}`, {dtype: 'F32', shape: [0], data_offsets: [0, 0]}]),
      ),
      Buffer.alloc(0),
    ),
  'a MindSpore checkpoint': count => each(count, i => parameter({name: `x${i}`})),
})) {
  test(`too many tensors in ${container}`, refusal, () => make(many), 'ERR_CHECKPOINT_UNSUPPORTED', tooMany);
  test(`many tensors in ${container}`, async t => {
    await t.notThrowsAsync(folder.write(make(many - 1)).then(openAndReadAll));
  });
}

for (const [container, bytes] of Object.entries({
  'the model of an ONNX file': () =>
    concat(
      field(1, 8),
      field(2, 'x'),
      each(300_000, () => field(5, 0)),
    ),
  'one attribute of an ONNX file': () =>
    onnx(
      [
        field(
          5,
          each(300_000, () => field(3, 0)),
        ),
      ],
      [],
    ),
  'one tensor of a MindSpore checkpoint': () =>
    concat(
      parameter(),
      field(
        1,
        concat(
          field(1, 'y'),
          each(300_000, () => field(9, 0)),
        ),
      ),
    ),
  'the texts of a MindSpore checkpoint': () =>
    concat(
      parameter(),
      each(60_000, () => parameter({dims: [], type: 'str', content: Buffer.alloc(0)})),
    ),
})) {
  const message = /it has more than 300,000 fields, where a network has some ten thousand\.$/;
  test(`300,000 fields in ${container}`, refusal, bytes, 'ERR_CHECKPOINT_UNSUPPORTED', message);
}

const values = (count: number): string => 'N0'.repeat(count / 2);
const tooManyValues = /its pickle makes more than 1,000,000 values/;
test(
  'a million values in the five pickles of a legacy file together',
  refusal,
  () => {
    const [head, object] = [legacy(pickle('N')), pickle(values(600_000), 'N')];
    const at = head.indexOf(pickle('N'));
    return concat(head.subarray(0, at), object, pickle(values(600_000), ']'));
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  tooManyValues,
);
test(
  'a million values in the storages of a tar together',
  refusal,
  () => {
    // Behind the two bytes of the protocol.
    const storages = [1, 2, 3].map(key =>
      concat('\x80\x02', values(400_000), tarStorage(key, 0n, Buffer.alloc(0)).subarray(2)),
    );
    return torchTar({storages: concat(pickle(int(3)), ...storages)});
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  tooManyValues,
);

test('the storages of a legacy file are found in few reads', async t => {
  const names = Array.from({length: 5_000}, (_, i) => `${i}`);
  const object = pickle(
    dict(Object.fromEntries(names.map(key => [`x${key}`, tensor({key, length: 1, shape: [1]})]))),
  );
  const storages = Object.fromEntries(names.map((key, i) => [key, {bytes: floats(i), length: 1}]));
  const {readCheckpoint} = await import('../../ts/checkpoint/open.ts');
  const {CheckpointFile} = await import('../../ts/checkpoint/file.ts');
  const file = CheckpointFile.ofBytes('x.pth', torchLegacy(object, storages));
  let reads = 0;
  const readInto = file.readInto.bind(file);
  file.readInto = (...range) => {
    reads++;
    return readInto(...range);
  };
  await using checkpoint = await readCheckpoint(file);
  t.true(reads < 100, `${reads} reads`);
  t.deepEqual(await checkpoint.tensors.get('x4321')!.read(), Float32Array.of(4321));
});

test(
  'a small part of a large storage that is compressed',
  refusal,
  () =>
    torchZip(
      pickle(dict({x: tensor({length: 100_000, shape: [4]})})),
      {0: Buffer.alloc(400_000)},
      {'data/0': {deflate: true}},
    ),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /tensor x of shape \[4\] is a small part of a storage that is compressed, so save it with torch\.save again\.$/,
);

test.serial('one dict under many names is looked at once', async t => {
  const numbers = each(200_000, i => concat(int(i), 'N'));
  const time = async (names: number): Promise<number> => {
    const others = Object.fromEntries(Array.from({length: names}, (_, i) => [`n${i}`, concat('h\x05')]));
    const object = dict({
      first: concat('}(', numbers, 'uq\x05'),
      ...others,
      loss: tensor({length: 4, shape: [4]}),
    });
    const path = await folder.write(inZip(pickle(object)));
    const start = performance.now();
    await openAndReadAll(path);
    return performance.now() - start;
  };
  await time(1); // Compiles.
  const once = await time(1);
  t.true((await time(200)) < 2 * once + 300);
});
