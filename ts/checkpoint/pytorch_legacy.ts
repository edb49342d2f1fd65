import {ByteWindow} from './byte_window.ts';
import type {StateDict} from './checkpoint.ts';
import {elementBytes} from './element_types.ts';
import {type ByteSource, type CheckpointFile, printable} from './file.ts';
import {unpickle} from './pickle/pickle.ts';
import {isKey, type StorageId, torchPickle} from './pickle/torch_pickle.ts';
import {Storage} from './storage.ts';
import {unwrapStateDict} from './unwrap.ts';

/** The magic number of `torch.save`, 0x1950a86a20f9469cfc6c, as pickled by protocols from 2 on. */
const magic = Buffer.from('8a0a6cfc9c46f9206aa85019', 'hex');
const protocolVersion = 1001;
/** Each storage is preceded by its number of elements as int64. */
const lengthBytes = 8;

/** A pickle of the magic number, which some protocols put after other opcodes. */
export function isPyTorchLegacy(head: Buffer): boolean {
  return head[0] === 0x80 && head.subarray(0, 16 + magic.length).includes(magic);
}

/**
 * Reads the container that `torch.save` wrote before PyTorch 1.6, the format of the official weights of 2021: pickles of a
 * magic number, a protocol version, properties of the writer's machine, the object, and a list of storage keys; then, in
 * the order of the keys, the length and bytes of each storage. The bytes are little-endian on any machine (`writeFileRaw`
 * in torch/csrc/generic/serialization.cpp).
 */
export async function readPyTorchLegacy(file: CheckpointFile): Promise<StateDict> {
  const storages = new Map<string, Storage>();
  /** The positions of storages, known once all pickles are read. */
  const positions = new Map<string, number>();

  function makeStorage({key, dtype, length}: StorageId): Storage {
    const bytes = (): ByteSource => file.from(positions.get(key)!, `storage ${printable(key)}`);
    const source: ByteSource = {
      readInto: (target, offset) => bytes().readInto(target, offset),
      locate: (offset, length) => bytes().locate!(offset, length),
    };
    const storage = new Storage(dtype, length, true, source, true);
    storages.set(key, storage);
    return storage;
  }

  const window = new ByteWindow(file, 'its pickles');
  const rules = torchPickle(file, makeStorage);
  const next = (): Promise<unknown> => unpickle(window, rules);
  await next(); // The magic number, already checked.
  const version = await next();
  if (version !== protocolVersion) {
    const found = typeof version === 'number' ? version : 'none';
    const problem = `expected PyTorch's legacy protocol ${protocolVersion} but found ${found}`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  await next();
  const root = await next();
  const keys = await next();
  await locate(keys, storages, positions, window, file);
  return unwrapStateDict(root, file);
}

/** Finds the position of each storage, by skipping from one length to the next. */
async function locate(
  keys: unknown,
  storages: ReadonlyMap<string, Storage>,
  positions: Map<string, number>,
  window: ByteWindow,
  file: CheckpointFile,
): Promise<void> {
  for (const key of Array.isArray(keys) ? keys : []) {
    const storage = isKey(key) ? storages.get(key) : undefined;
    if (!storage || positions.has(key)) {
      throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its list of storages does not match its tensors');
    }
    await window.fill(lengthBytes);
    file.checkEnd(window.position + lengthBytes, `storage ${printable(key)}`);
    const stated = window.peek(lengthBytes).readBigInt64LE();
    if (stated !== BigInt(storage.length)) {
      const problem = `storage ${printable(key)} should have ${storage.length} elements but states ${stated}`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    positions.set(key, window.position + lengthBytes);
    window.position += lengthBytes + storage.length * elementBytes(storage.dtype);
    file.checkEnd(window.position, `storage ${printable(key)}`);
  }
  if (positions.size !== storages.size) {
    throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its list of storages lacks some that its tensors use');
  }
}
