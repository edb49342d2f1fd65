/** Builds PyTorch files byte by byte, sound ones and ones that no PyTorch would write. */
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {crc32, deflateRawSync} from 'node:zlib';

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

// Pickles. Opcodes are spelled as the characters that Python's pickletools lists.

const concat = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

export {concat};

export const pickle = (...parts: (string | Buffer)[]): Buffer => concat('\x80\x02', ...parts, '.');

export function text(value: string): Buffer {
  const utf8 = Buffer.from(value);
  return concat('X', u32(utf8.length), utf8);
}

export function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return concat('J', bytes);
}

export const tuple = (...items: (string | Buffer)[]): Buffer => concat('(', ...items, 't');
export const list = (...items: (string | Buffer)[]): Buffer => concat(']', '(', ...items, 'e');
export const ints = (values: readonly number[]): Buffer => tuple(...values.map(int));

export function dict(entries: Record<string, Buffer | string>): Buffer {
  return concat('}', '(', ...Object.entries(entries).flatMap(([key, value]) => [text(key), value]), 'u');
}

export interface TensorPickle {
  key?: string;
  type?: string;
  /** Of the storage. */
  length: number;
  offset?: number;
  shape: readonly number[];
  stride?: readonly number[];
  /** The sixth member of a legacy reference to a storage. */
  part?: Buffer | string;
}

export function storage({key = '0', type = 'FloatStorage', length, part}: TensorPickle): Buffer {
  const id = [text('storage'), `ctorch\n${type}\n`, text(key), text('cpu'), int(length)];
  return concat(tuple(...id, ...(part === undefined ? [] : [part])), 'Q');
}

export function tensor(options: TensorPickle): Buffer {
  const {shape, offset = 0} = options;
  const stride =
    options.stride ??
    shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const hooks = 'ccollections\nOrderedDict\n)R';
  return concat(
    'ctorch._utils\n_rebuild_tensor_v2\n',
    tuple(storage(options), int(offset), ints(shape), ints(stride), '\x89', hooks),
    'R',
  );
}

// Zips.

export interface ZipEntry {
  name: string;
  data: Buffer;
  deflate?: boolean;
  flags?: number;
  method?: number;
  /** What the central directory states, where it is not the truth. */
  crc?: number;
  size?: number;
  compressedSize?: number;
  offset?: number;
  /** The length of the extra field that the local header states, and does not have. */
  localExtra?: number;
}

export function zip(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const body = entry.deflate ? deflateRawSync(entry.data) : entry.data;
    const lengths = u32(name.length + ((entry.localExtra ?? 0) << 16));
    const local = concat('PK\x03\x04', Buffer.alloc(22), lengths, name, body);
    const central = Buffer.alloc(46);
    central.write('PK\x01\x02', 'latin1');
    central.writeUInt16LE(entry.flags ?? 0, 8);
    central.writeUInt16LE(entry.method ?? (entry.deflate ? 8 : 0), 10);
    central.writeUInt32LE(entry.crc ?? crc32(entry.data), 16);
    central.writeUInt32LE(entry.compressedSize ?? body.length, 20);
    central.writeUInt32LE(entry.size ?? entry.data.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(entry.offset ?? position, 42);
    parts.push(local);
    directory.push(central, name);
    position += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(position, 16);
  return Buffer.concat([...parts, central, end]);
}

/** A PyTorch zip around a pickle; `changes` are merged into the entries of these names, or added. */
export function torchZip(
  data: Buffer,
  storages: Record<string, Buffer>,
  changes: Record<string, Partial<ZipEntry>> = {},
): Buffer {
  const entries: Record<string, ZipEntry> = {};
  const add = (name: string, bytes: Buffer): void => {
    entries[name] = {name: `archive/${name}`, data: bytes};
  };
  add('data.pkl', data);
  for (const [key, bytes] of Object.entries(storages)) add(`data/${key}`, bytes);
  add('version', Buffer.from('3\n'));
  for (const [name, change] of Object.entries(changes)) {
    entries[name] = {...(entries[name] ?? {name: `archive/${name}`, data: Buffer.alloc(0)}), ...change};
  }
  return zip(Object.values(entries));
}

// The legacy container.

export const legacyMagic = '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.';

export interface LegacyStorage {
  bytes: Buffer;
  /** The number of elements that the file states. */
  length: number;
}

export function torchLegacy(data: Buffer, storages: Record<string, LegacyStorage>): Buffer {
  const keys = pickle(list(...Object.keys(storages).map(text)));
  const raw = Object.values(storages).map(({bytes, length}) => concat(u64(BigInt(length)), bytes));
  return concat(legacyMagic, pickle('M\xe9\x03'), pickle(dict({little_endian: '\x88'})), data, keys, ...raw);
}

export function floats(...values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

// Safetensors.

/** `header` as it is where it is text; `length` is what the file states where that is not the truth. */
export function safetensors(header: object | string, data: Buffer, length?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return concat(u64(length ?? BigInt(json.length)), json, data);
}

// ONNX. Numbers of fields are those of onnx.proto.

/** A field of a protocol buffer. */
export function field(number: number, value: Buffer | string | number | bigint): Buffer {
  if (typeof value === 'number' || typeof value === 'bigint')
    return concat(varint(number << 3), varint(value));
  const bytes = Buffer.from(value);
  return concat(varint((number << 3) | 2), varint(bytes.length), bytes);
}

export function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.of(...bytes, Number(rest));
}

export type OnnxAttributes = Record<string, number | readonly number[] | Buffer | {float: number}>;

export function onnxNode(
  type: string,
  inputs: readonly string[],
  output: string,
  attributes: OnnxAttributes = {},
): Buffer {
  const attribute = ([name, value]: [string, OnnxAttributes[string]]): Buffer => {
    if (typeof value === 'number') return concat(field(1, name), field(3, value));
    if (Buffer.isBuffer(value)) return concat(field(1, name), field(5, value));
    if (!('float' in value)) return concat(field(1, name), ...value.map(item => field(8, item)));
    return concat(field(1, name), '\x15', floats(value.float));
  };
  const fields = Object.entries(attributes).map(entry => field(5, attribute(entry)));
  return concat(...inputs.map(input => field(1, input)), field(2, output), field(4, type), ...fields);
}

/** `data` is raw data, or the fields that hold it. */
export function onnxTensor(
  name: string,
  shape: readonly (number | bigint)[],
  data: readonly number[] | {fields: readonly Buffer[]},
  type = 1,
): Buffer {
  const values = 'fields' in data ? data.fields : [field(9, floats(...data))];
  return concat(...shape.map(size => field(1, size)), field(2, type), field(8, name), ...values);
}

/** A model with the input "x" and the output "y". */
export function onnx(
  nodes: readonly Buffer[],
  tensors: readonly Buffer[],
  input: Buffer = field(1, 'x'),
): Buffer {
  const graph = concat(
    ...nodes.map(node => field(1, node)),
    ...tensors.map(tensor => field(5, tensor)),
    field(11, input),
    field(12, field(1, 'y')),
  );
  return concat(field(1, 8), field(2, 'test'), field(7, graph), field(8, field(2, 17)));
}

/** A folder for one test file; every call of `write` makes a new path. */
export class Folder {
  #path: Promise<string> = mkdtemp(join(tmpdir(), 'repvgg-test-'));
  #count = 0;

  async path(name: string): Promise<string> {
    return join(await this.#path, name);
  }

  async write(bytes: Buffer | string): Promise<string> {
    const path = await this.path(`${this.#count++}.pth`);
    await writeFile(path, bytes);
    return path;
  }

  async remove(): Promise<void> {
    await rm(await this.#path, {recursive: true, force: true});
  }
}
