import {readFile, writeFile} from 'node:fs/promises';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {RepVGGError} from '../../ts/errors.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {Random} from '../random.ts';
import {
  dict,
  Folder,
  floats,
  int,
  list,
  pickle,
  tensor,
  text,
  torchLegacy,
  torchZip,
  tuple,
} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

const object = pickle(
  dict({
    epoch: int(7),
    state_dict: dict({
      'module.a': tensor({length: 6, shape: [2, 3], stride: [1, 2]}),
      'module.b': tensor({key: '1', type: 'HalfStorage', length: 4, offset: 1, shape: [3]}),
    }),
    losses: list(tuple(text('x'), 'G?\xf0\0\0\0\0\0\0'), '\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19'),
  }),
);
const a = floats(1, 2, 3, 4, 5, 6);
const b = Buffer.alloc(8, 0x3c);
const unchecked = {crc: 0};

/** Small files, so that most mutations hit structure. Without checksums, since with them no damaged pickle is ever read. */
const small: Record<string, () => Buffer | Promise<Buffer>> = {
  zip: () =>
    torchZip(object, {0: a, 1: b}, {'data.pkl': unchecked, 'data/0': unchecked, 'data/1': unchecked}),
  'deflated zip': () =>
    torchZip(object, {0: a, 1: b}, {'data.pkl': {...unchecked, deflate: true}, 'data/0': {deflate: true}}),
  legacy: () => torchLegacy(object, {0: {bytes: a, length: 6}, 1: {bytes: b, length: 4}}),
  "PyTorch's zip": () => readFile(fixture('narrow.deploy.zip.pth')),
  "PyTorch's legacy": () => readFile(fixture('narrow.deploy.legacy.pth')),
};

function mutate(bytes: Buffer, random: Random): Buffer {
  const at = random.integer(0, bytes.length - 1);
  const length = random.integer(1, 16);
  const copy = Buffer.from(bytes);
  const value = random.pick([0, 1, 2, 3, 4, 8, 0x28, 0x2e, 0x52, 0x7f, 0x80, 0x93, 0xff]);
  switch (random.integer(0, 6)) {
    case 0:
      copy[at]! ^= 1 << random.integer(0, 7);
      return copy;
    case 1:
      copy[at] = value;
      return copy;
    case 2:
      return copy.fill(value, at, Math.min(copy.length, at + random.pick([2, 4, 8])));
    case 3:
      return copy.subarray(0, at);
    case 4:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)]);
    case 5:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at, at + length), copy.subarray(at)]);
    default: {
      const from = random.integer(0, bytes.length - 1);
      bytes.copy(copy, at, from, from + length);
      return copy;
    }
  }
}

for (const [name, make] of Object.entries(small)) {
  test(`a damaged ${name} is refused in words or read, and soon`, async t => {
    const bytes = await make();
    const random = new Random(`fuzz ${name}`);
    const path = await folder.path(`${name.replaceAll(/\W/g, '_')}.pth`);
    const outcomes = new Map<string, number>();
    let slowest = 0;
    const count = bytes.length > 10_000 ? 200 : 1200;
    for (let i = 0; i < count; i++) {
      let mutant = mutate(bytes, random);
      if (random.next() < 0.3 && mutant.length > 0) mutant = mutate(mutant, random);
      await writeFile(path, mutant);
      const start = performance.now();
      const outcome = await readAll(path).catch((error: unknown) => {
        if (error instanceof RepVGGError) return error.code;
        throw new Error(`mutation ${i} gives ${String(error)}`, {cause: error});
      });
      slowest = Math.max(slowest, performance.now() - start);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    t.log(Object.fromEntries(outcomes), `slowest ${slowest.toFixed(0)} ms`);
    t.true(slowest < 1000);
    t.true(outcomes.get('read')! > 0);
    t.true(outcomes.get('ERR_CHECKPOINT_TRUNCATED')! > 0);
    t.true(outcomes.get('ERR_CHECKPOINT_CORRUPT')! > 0);
  });
}

async function readAll(path: string): Promise<string> {
  await using checkpoint = await openCheckpoint(path);
  for (const tensor of checkpoint.tensors.values()) await tensor.read();
  return 'read';
}
