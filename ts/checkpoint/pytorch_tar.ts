import {
  isTarHeader,
  isZeroBlock,
  tarBlockBytes,
  tarBlocksOf,
  tarField,
  tarNumber,
  tarText,
} from '../support/tar_header.ts';
import {ByteWindow} from './byte_window.ts';
import type {StateDict} from './checkpoint.ts';
import {elementBytes} from './element_types.ts';
import {type CheckpointFile, printable} from './file.ts';
import {unpickle} from './pickle/pickle.ts';
import {pickleRules, storageType} from './pickle/torch_pickle.ts';
import {isSize, maxDimensions} from './shape.ts';
import {Storage, TensorView} from './storage.ts';
import {unwrapStateDict} from './unwrap.ts';

/** PyTorch wrote four members. */
const maxMembers = 64;

/**
 * Reads the container that PyTorch wrote before 0.1.10, a tar with three members (`legacy_load` in
 * torch/serialization.py). "storages" has their number, for each its key, device and type, its length and its bytes, and
 * then a list of views of storages; "tensors" has their number and for each its key, its storage's key and its type, sizes,
 * strides and offset; "pickle" refers to both by key.
 */
export async function readPyTorchTar(file: CheckpointFile): Promise<StateDict> {
  const members = await findMembers(file);
  const member = (name: string): ByteWindow => {
    const found = members.get(name);
    if (found) return new ByteWindow(file, `its member ${name}`, found.start);
    throw file.fail('ERR_CHECKPOINT_FORMAT', `expected a PyTorch tar, with a member ${name}, but found none`);
  };
  const objects = new Map<string, Storage | TensorView>();
  await readStorages(member('storages'), objects, file);
  await readTensors(member('tensors'), objects, file);
  const root = await unpickle(
    member('pickle'),
    pickleRules(file, id => {
      // A class, with its source file and code.
      if (Array.isArray(id)) return id[0];
      const object = objects.get(textOfKey(id));
      if (object) return object;
      throw corrupt(file, 'its pickle refers to a tensor that it has not');
    }),
  );
  return unwrapStateDict(root, file);
}

async function findMembers(file: CheckpointFile): Promise<Map<string, {start: number; size: number}>> {
  const members = new Map<string, {start: number; size: number}>();
  let position = 0;
  while (position + tarBlockBytes <= file.size) {
    const header = await file.read(position, tarBlockBytes, 'a header of its tar');
    if (isZeroBlock(header)) break;
    const [name, size] = [tarText(header, tarField.name), tarNumber(header, tarField.size)];
    if (!isTarHeader(header) || Number.isNaN(size)) throw corrupt(file, 'a header of its tar is damaged');
    const start = position + tarBlockBytes;
    file.checkEnd(start + size, `its member ${printable(name)}`);
    // "./pickle" if the tar was repacked by hand.
    const short = name.replace(/^\.\//, '');
    if (members.has(short)) throw corrupt(file, `its tar has two members ${printable(short)}`);
    if (members.size === maxMembers) throw corrupt(file, `its tar has more than ${maxMembers} members`);
    members.set(short, {start, size});
    position = start + tarBlocksOf(size);
  }
  return members;
}

async function readStorages(
  window: ByteWindow,
  objects: Map<string, Storage | TensorView>,
  file: CheckpointFile,
): Promise<void> {
  const rules = pickleRules(file);
  const count = await unpickle(window, rules);
  for (let i = 0; isSize(count) && i < count; i++) {
    const [key, , type] = listOf(await unpickle(window, rules), file);
    const dtype = storageType(type);
    await window.fill(8);
    const length = window.left >= 8 ? Number(window.peek(8).readBigInt64LE()) : -1;
    if (!dtype || length < 0) throw corrupt(file, `its storage ${i} is malformed`);
    const position = window.position + 8;
    const bytes = length * elementBytes(dtype);
    file.checkEnd(position + bytes, `storage ${i}`);
    add(objects, key, new Storage(dtype, length, true, window.range(position, bytes), true), file);
    window.position = position + bytes;
  }
  const roots = new Map(objects);
  for (const view of listOf(await unpickle(window, rules), file)) {
    const [key, rootKey, offset, length] = listOf(view, file);
    const root = roots.get(textOfKey(rootKey));
    if (!(root instanceof Storage) || !isSize(offset) || !isSize(length) || offset + length > root.length) {
      throw corrupt(file, 'it has a malformed view of a storage');
    }
    add(objects, key, root.part(offset, length), file);
  }
}

async function readTensors(
  window: ByteWindow,
  objects: Map<string, Storage | TensorView>,
  file: CheckpointFile,
): Promise<void> {
  const rules = pickleRules(file);
  const count = await unpickle(window, rules);
  const storages = new Map(objects);
  for (let i = 0; isSize(count) && i < count; i++) {
    const [key, storageKey] = listOf(await unpickle(window, rules), file);
    const storage = storages.get(textOfKey(storageKey));
    await window.fill(8 * (2 + 2 * maxDimensions));
    // The number of dimensions takes four bytes, followed by four unused ones.
    const dimensions = window.left >= 8 ? window.peek(4).readInt32LE() : -1;
    const bytes = 8 * (2 + 2 * dimensions);
    const isSound = dimensions >= 0 && dimensions <= maxDimensions && bytes <= window.left;
    if (!(storage instanceof Storage) || !isSound) throw corrupt(file, `its tensor ${i} is malformed`);
    const numbers = Array.from({length: 1 + 2 * dimensions}, (_, n) =>
      Number(window.peek(bytes).readBigInt64LE(8 + 8 * n)),
    );
    window.position += bytes;
    if (!numbers.every(isSize)) throw corrupt(file, `its tensor ${i} is malformed`);
    const [shape, stride] = [numbers.slice(0, dimensions), numbers.slice(dimensions, 2 * dimensions)];
    add(objects, key, new TensorView(storage, numbers.at(-1)!, shape, stride), file);
  }
}

function add(
  objects: Map<string, Storage | TensorView>,
  key: unknown,
  object: Storage | TensorView,
  file: CheckpointFile,
): void {
  const name = textOfKey(key);
  if (name === '' || objects.has(name)) throw corrupt(file, `it has the key ${printable(name)} twice`);
  objects.set(name, object);
}

/** Keys are addresses: numbers where they are defined, text where a pickle refers to them. */
function textOfKey(key: unknown): string {
  const text = typeof key === 'number' || typeof key === 'bigint' ? String(key) : key;
  return typeof text === 'string' && text.length <= 64 ? text : '';
}

function listOf(value: unknown, file: CheckpointFile): unknown[] {
  if (Array.isArray(value)) return value;
  throw corrupt(file, 'it has a malformed list of storages or tensors');
}

function corrupt(file: CheckpointFile, problem: string): Error {
  return file.fail('ERR_CHECKPOINT_CORRUPT', problem);
}
