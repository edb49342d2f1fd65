/** Cheap mutations that know a little of the formats: numbers of every width, tokens, and what has to be put right again. */
import type {Random} from '../random.ts';
import {mutateFields} from './mutate_fields.ts';
import type {Seed} from './seeds.ts';

const numbers = [
  0n,
  1n,
  2n,
  3n,
  127n,
  128n,
  255n,
  256n,
  2n ** 15n,
  2n ** 16n - 1n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const bytes = [0, 1, 2, 3, 4, 8, 0x28, 0x2e, 0x52, 0x7f, 0x80, 0x93, 0xff];

/** One to four mutations of a seed. */
export function mutate(seed: Seed, seeds: readonly Seed[], random: Random): Buffer {
  let mutant: Buffer = seed.bytes;
  if (['onnx', 'mindspore'].includes(seed.format) && random.next() < 0.5)
    return mutateFields(mutant, random) ?? mutant;
  const count = random.pick([1, 1, 1, 2, 2, 3, 4]);
  for (let i = 0; i < count && mutant.length > 0; i++) mutant = mutateOnce(mutant, seed, seeds, random);
  return seed.repair && random.next() < 0.7 ? seed.repair(Buffer.from(mutant)) : mutant;
}

function mutateOnce(source: Buffer, {tokens, format}: Seed, seeds: readonly Seed[], random: Random): Buffer {
  const at = random.integer(0, source.length - 1);
  const length = Math.min(source.length - at, random.pick([1, 1, 2, 4, 8, 16, 64]));
  const copy = Buffer.from(source);
  const insert = (part: Buffer, replaced = 0): Buffer =>
    Buffer.concat([source.subarray(0, at), part, source.subarray(at + replaced)]);
  switch (random.integer(0, 11)) {
    case 0:
      copy[at]! ^= 1 << random.integer(0, 7);
      return copy;
    case 1:
      copy[at] = random.pick(bytes);
      return copy;
    case 2:
      return copy.fill(random.pick(bytes), at, at + length);
    case 3:
      return source.subarray(0, at);
    case 4:
      return insert(Buffer.alloc(0), length);
    case 5:
      return insert(source.subarray(at, at + length));
    case 6:
      source.copy(copy, at, random.integer(0, source.length - 1));
      return copy.subarray(0, source.length);
    case 7:
      return putNumber(copy, at, random);
    case 8:
      copy[at] = (copy[at]! + random.integer(-16, 16)) & 0xff;
      return copy;
    case 9:
      return insert(Buffer.from(random.pick(tokens), 'latin1'), random.pick([0, 0, length]));
    case 10: {
      const other = random.pick(seeds.filter(seed => seed.format === format)).bytes;
      const from = random.integer(0, other.length - 1);
      return insert(other.subarray(from, from + random.integer(1, 200)), random.pick([0, length]));
    }
    default: {
      // A number in text, such as a size in JSON or an octal of a tar.
      const text = source.toString('latin1', at, at + 64);
      const digits = /\d+/.exec(text);
      if (!digits) return putNumber(copy, at, random);
      const [start, value] = [at + digits.index, random.pick([...numbers, -1n, BigInt(source.length)])];
      const before = source.subarray(0, start);
      return Buffer.concat([before, Buffer.from(String(value)), source.subarray(start + digits[0].length)]);
    }
  }
}

function putNumber(copy: Buffer, at: number, random: Random): Buffer {
  const width = random.pick([2, 4, 8]);
  if (at + width > copy.length) return copy.subarray(0, at);
  const value = random.pick([...numbers, BigInt(copy.length), BigInt(at)]);
  const little = Buffer.alloc(8);
  little.writeBigUInt64LE(BigInt.asUintN(64, value + BigInt(random.integer(-1, 1))));
  const part = little.subarray(0, width);
  copy.set(random.next() < 0.8 ? part : part.reverse(), at);
  return copy;
}
