/**
 * Mutations of protocol buffers as trees of fields, whose lengths stay right: damage to bytes alone seldom leaves a graph
 * that can be followed to where it lacks something.
 */
import {concat, varint} from '../checkpoint/build.ts';
import type {Random} from '../random.ts';

interface Field {
  number: number;
  wire: number;
  value: bigint | Buffer | Field[];
}

const integers = [0n, 1n, 2n, 3n, 7n, 10n, 2n ** 31n, 2n ** 62n, 2n ** 63n, 2n ** 64n - 1n];
const deepest = 8;

/** One to three mutations of a message; undefined where it is none, or has nothing in it. */
export function mutateFields(source: Buffer, random: Random): Buffer | undefined {
  const message = parse(source);
  if (!message) return undefined;
  for (let count = random.integer(1, 3); count > 0; count--) {
    const places = placesOf(message);
    if (places.length === 0) return undefined;
    const {list, index} = random.pick(places);
    const other = random.pick(places);
    const [field, donor] = [list[index]!, other.list[other.index]!];
    switch (random.integer(0, 6)) {
      case 0:
        list.splice(index, 1);
        break;
      case 1:
        list.splice(index, 0, structuredClone(donor));
        break;
      case 2:
        field.value = structuredClone(donor.value);
        field.wire = donor.wire;
        break;
      case 3:
        field.number = random.integer(1, 16);
        break;
      case 4:
        if (field.wire === 0) field.value = random.pick(integers);
        break;
      case 5:
        if (Array.isArray(field.value)) field.value.reverse();
        break;
      default:
        if (field.wire === 2 && !Array.isArray(field.value))
          field.value = Buffer.from(random.pick(['', 'x']));
    }
  }
  return serialise(message);
}

function placesOf(message: Field[]): {list: Field[]; index: number}[] {
  return message.flatMap((field, index) => [
    {list: message, index},
    ...(Array.isArray(field.value) ? placesOf(field.value) : []),
  ]);
}

/** Whatever can be read as a message is one. */
function parse(bytes: Buffer, depth = 0): Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at);
    if (!tag || tag.value < 8n || tag.value > 500n) return undefined;
    const [number, wire] = [Number(tag.value >> 3n), Number(tag.value & 7n)];
    at = tag.end;
    const read = wire === 0 || wire === 2 ? readVarint(bytes, at) : undefined;
    const length = wire === 2 ? Number(read?.value) : wire === 1 ? 8 : wire === 5 ? 4 : 0;
    at = read?.end ?? at;
    if ((wire === 0 || wire === 2) && !read) return undefined;
    if (![0, 1, 2, 5].includes(wire) || !(at + length <= bytes.length)) return undefined;
    const part = Buffer.from(bytes.subarray(at, at + length));
    at += length;
    const nested = wire === 2 && length > 1 && depth < deepest ? parse(part, depth + 1) : undefined;
    fields.push({number, wire, value: wire === 0 ? read!.value : (nested ?? part)});
  }
  return fields;
}

function readVarint(bytes: Buffer, start: number): {value: bigint; end: number} | undefined {
  let value = 0n;
  for (let i = 0; i < 10 && start + i < bytes.length; i++) {
    const byte = bytes[start + i]!;
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return {value, end: start + i + 1};
  }
  return undefined;
}

function serialise(message: readonly Field[]): Buffer {
  return concat(
    ...message.map(({number, wire, value}) => {
      const tag = varint(8 * number + wire);
      if (typeof value === 'bigint') return concat(tag, varint(value));
      const body = Array.isArray(value) ? serialise(value) : Buffer.from(value);
      return wire === 2 ? concat(tag, varint(body.length), body) : concat(tag, body);
    }),
  );
}
