/** Builds files of other projects byte by byte: numpy's arrays in pickles, MindSpore's protocol buffers, PyTorch's tars. */
import {crc32} from 'node:zlib';
import {concat, floats, int, ints, pickle, text, tuple, u32, u64} from './build.ts';

export interface ArrayPickle {
  shape?: readonly number[];
  /** numpy's name of the type. */
  type?: string;
  order?: '<' | '>';
  columnMajor?: boolean;
  /** The opcodes of the bytes. */
  bytes?: Buffer;
}

/** Opcodes of bytes as protocol 3 has them. */
export const bytes = (content: Buffer): Buffer => concat('B', u32(content.length), content);

/** Opcodes of an array as `numpy.ndarray.__reduce__` gives them: by default the floats 1 to 4. */
export function array(options: ArrayPickle = {}): Buffer {
  const {shape = [4], type = 'f4', order = '<', columnMajor = false} = options;
  const typeState = tuple(int(3), text(order), 'N', 'N', 'N', int(-1), int(-1), int(0));
  const dtype = concat('cnumpy\ndtype\n', tuple(text(type), '\x89', '\x88'), 'R', typeState, 'b');
  const empty = concat(tuple('cnumpy\nndarray\n', tuple(int(0)), bytes(Buffer.from('b'))), 'R');
  const content = options.bytes ?? bytes(floats(1, 2, 3, 4));
  const state = tuple(int(1), ints(shape), dtype, columnMajor ? '\x88' : '\x89', content);
  return concat('cnumpy.core.multiarray\n_reconstruct\n', empty, state, 'b');
}

// Protocol buffers.

export function varint(value: bigint): Buffer {
  const digits: number[] = [];
  for (let rest = BigInt.asUintN(64, value); ; rest >>= 7n) {
    const more = rest >= 128n;
    digits.push(Number(rest & 127n) | (more ? 128 : 0));
    if (!more) return Buffer.from(digits);
  }
}

export const message = (field: number, content: Buffer | string): Buffer => {
  const body = concat(content);
  return concat(varint(BigInt(field * 8 + 2)), varint(BigInt(body.length)), body);
};

export interface MindSporeTensor {
  name?: string;
  dims?: readonly (number | bigint)[];
  type?: string;
  content?: Buffer;
}

/** One parameter of a MindSpore checkpoint: by default `x`, the floats 1 to 4. */
export function parameter(options: MindSporeTensor = {}): Buffer {
  const {name = 'x', dims = [4], type = 'Float32', content = floats(1, 2, 3, 4)} = options;
  const sizes = dims.map(size => concat(Buffer.of(8), varint(BigInt(size))));
  const tensor = concat(...sizes, message(2, type), message(3, content));
  return message(1, concat(message(1, name), message(2, tensor)));
}

/** With the checksum that `crc_check=True` puts at the end. */
export function checked(content: Buffer, error = 0): Buffer {
  const sum = Buffer.alloc(10);
  sum.writeUInt32BE(crc32(content) + error, 6);
  return concat(content, 'crc_num', sum);
}

// Tars.

export interface TarMember {
  name: string;
  data: Buffer;
  /** What the header states, where it is not the truth. */
  size?: string;
  sum?: number;
}

export function tar(members: readonly TarMember[]): Buffer {
  const parts = members.flatMap(({name, data, size, sum}) => {
    const header = Buffer.alloc(512);
    header.write(name, 0, 'latin1');
    header.write('0000644\0', 100, 'latin1');
    header.write(`${size ?? data.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
    header.write(' '.repeat(8), 148, 'latin1');
    header.write('0', 156, 'latin1');
    header.write('ustar\x0000', 257, 'latin1');
    const total = sum ?? header.reduce((a, b) => a + b, 0);
    header.write(`${total.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return [header, data, Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return concat(...parts, Buffer.alloc(1024));
}

export interface TorchTar {
  /** Opcodes of the pickle's root; the tensor's key is "7". */
  root?: Buffer;
  storages?: Buffer;
  tensors?: Buffer;
  views?: Buffer;
  changes?: Partial<Record<'storages' | 'tensors' | 'pickle', Partial<TarMember>>>;
}

export const tarStorage = (key: number, length: bigint, content: Buffer): Buffer =>
  concat(
    pickle(tuple(int(key), text('cpu'), 'ctorch\nFloatStorage\n')),
    u64(BigInt.asUintN(64, length)),
    content,
  );

/** @param numbers sizes, strides and offset */
export const tarTensor = (
  key: number,
  storage: number,
  dimensions: number,
  numbers: readonly bigint[],
): Buffer =>
  concat(
    pickle(tuple(int(key), int(storage), 'ctorch\nFloatTensor\n')),
    u32(dimensions >>> 0),
    u32(0),
    ...numbers.map(number => u64(BigInt.asUintN(64, number))),
  );

/** A tar of PyTorch's with one tensor `x`, the floats 1 to 4, as it should be but for what is given. */
export function torchTar(options: TorchTar = {}): Buffer {
  const {changes = {}} = options;
  const storages = options.storages ?? concat(pickle(int(1)), tarStorage(5, 4n, floats(1, 2, 3, 4)));
  const tensors = options.tensors ?? concat(pickle(int(1)), tarTensor(7, 5, 1, [4n, 1n, 0n]));
  const root = options.root ?? concat('}(', text('x'), text('7'), 'Qu');
  const member = (name: 'storages' | 'tensors' | 'pickle', data: Buffer): TarMember => ({
    name,
    data,
    ...changes[name],
  });
  return tar([
    {name: 'sys_info', data: pickle('}')},
    member('pickle', pickle(root)),
    member('tensors', tensors),
    member('storages', concat(storages, options.views ?? pickle(']'))),
  ]);
}
