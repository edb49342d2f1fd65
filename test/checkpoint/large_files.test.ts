/** Files beyond 4 GB, of which all but some kilobytes are holes. */
import {open} from 'node:fs/promises';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {
  concat,
  dict,
  Folder,
  field,
  floats,
  list,
  onnxNode,
  pickle,
  tensor,
  text,
  u32,
  u64,
  varint,
} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

/** Bytes, or how many of them are a hole. */
type Part = Buffer | number;
const sizeOf = (part: Part): number => (typeof part === 'number' ? part : part.length);

async function write(name: string, parts: readonly Part[]): Promise<string> {
  const path = await folder.path(name);
  const file = await open(path, 'w');
  let position = 0;
  for (const part of parts) {
    if (typeof part !== 'number') await file.write(part, 0, part.length, position);
    position += sizeOf(part);
  }
  await file.truncate(position);
  await file.close();
  return path;
}

const large = 2 ** 28;
const count = 5;
const keys = Array.from({length: count}, (_, i) => String(i));
/** Five tensors of 1 GB, and `x` behind them. */
const entries = Object.fromEntries(
  keys.map(key => [`large${key}`, tensor({key, length: large, shape: [large]})]),
);
const object = pickle(dict({...entries, x: tensor({key: '5', length: 4, shape: [4]})}));
const x = floats(1, 2, 3, 4);

/** A zip whose entries are beyond 4 GB, with ZIP64 records (APPNOTE 4.3.14, 4.3.15 and 4.5.3) and without checksums. */
function zip64(): Part[] {
  const parts: Part[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  const add = (...more: Part[]): void => {
    parts.push(...more);
    for (const part of more) position += sizeOf(part);
  };
  const members: [string, Part][] = [
    ['archive/data.pkl', object],
    ...keys.map((key): [string, Part] => [`archive/data/${key}`, 4 * large]),
    ['archive/data/5', x],
    ['archive/version', Buffer.from('3\n')],
  ];
  for (const [name, data] of members) {
    const extra = concat(
      '\x01\0\x18\0',
      u64(BigInt(sizeOf(data))),
      u64(BigInt(sizeOf(data))),
      u64(BigInt(position)),
    );
    const lengths = concat(u32(name.length + (extra.length << 16)), '\0\0\0\0\0\0\0\0\0\0');
    const sizes = concat(u32(0xffffffff), u32(0xffffffff));
    directory.push(concat('PK\x01\x02', Buffer.alloc(16), sizes, lengths, u32(0xffffffff), name, extra));
    add(concat('PK\x03\x04', Buffer.alloc(22), u32(name.length), name), data);
  }
  const central = concat(...directory);
  const start = position;
  add(central);
  const [entryCount, length] = [u64(BigInt(members.length)), u64(BigInt(central.length))];
  add(
    concat(
      'PK\x06\x06',
      u64(44n),
      '\x2d\0\x2d\0',
      u32(0),
      u32(0),
      entryCount,
      entryCount,
      length,
      u64(BigInt(start)),
    ),
  );
  add(concat('PK\x06\x07', u32(0), u64(BigInt(start + central.length)), u32(1)));
  add(concat('PK\x05\x06', u32(0), Buffer.alloc(12, 0xff), '\0\0'));
  return parts;
}

function legacy(): Part[] {
  const magic = '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.';
  const head = concat(
    magic,
    pickle('M\xe9\x03'),
    pickle('}'),
    object,
    pickle(list(...[...keys, '5'].map(text))),
  );
  const storages = keys.flatMap((): Part[] => [u64(BigInt(large)), 4 * large]);
  return [head, ...storages, u64(4n), x];
}

function safetensors(): Part[] {
  const header: Record<string, object> = {};
  for (const [i, key] of keys.entries()) {
    header[`large${key}`] = {
      dtype: 'F32',
      shape: [large],
      data_offsets: [4 * large * i, 4 * large * (i + 1)],
    };
  }
  header.x = {dtype: 'F32', shape: [4], data_offsets: [4 * large * count, 4 * large * count + 16]};
  const json = Buffer.from(JSON.stringify(header));
  return [concat(u64(BigInt(json.length)), json), 4 * large * count, x];
}

for (const [name, parts] of Object.entries({zip64, legacy, safetensors})) {
  test(`a ${name} of more than 4 GB`, async t => {
    const path = await write(name, parts());
    await using checkpoint = await openCheckpoint(path);
    t.is(checkpoint.tensors.size, count + 1);
    t.deepEqual(await checkpoint.tensors.get('x')!.read(), Float32Array.of(1, 2, 3, 4));
    const part = new Float32Array(2).fill(NaN);
    const {file, position} = await checkpoint.tensors.get('large4')!.locate!();
    await file.readInto(new Uint8Array(part.buffer), position + 4 * (large - 2), 'large4');
    t.deepEqual(part, Float32Array.of(0, 0));
  });
}

test('an ONNX file of more than 4 GB is walked through without being read', async t => {
  const bytes = (number: number, length: number): Buffer => concat(varint((number << 3) | 2), varint(length));
  const weight = concat(field(1, large), field(2, 1), field(8, 'unused'));
  const graph: Part[] = [field(1, onnxNode('Sub', ['x'], 'y'))];
  for (let i = 0; i < count; i++) {
    const named = concat(weight.subarray(0, -1), Buffer.from(String(i)), bytes(9, 4 * large));
    graph.push(bytes(5, named.length + 4 * large), named, 4 * large);
  }
  graph.push(field(11, field(1, 'x')), field(12, field(1, 'y')));
  const length = graph.reduce<number>((sum, part) => sum + sizeOf(part), 0);
  t.true(length > 2 ** 32);
  const path = await write('onnx', [field(1, 8), bytes(7, length), ...graph, field(8, field(2, 17))]);
  // The end of the graph was reached: it is the node that is not what it should be.
  await t.throwsAsync(openCheckpoint(path), {message: /its input goes into Sub/});
});
