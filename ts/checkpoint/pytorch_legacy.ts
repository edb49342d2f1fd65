import {RepVGGError} from '../errors.ts';
import type {TensorInfo} from './checkpoint.ts';
import {type CheckpointFile, printable} from './file.ts';
import {type PickleOptions, unpickle} from './pickle.ts';
import {elementTypes, Storage} from './storage.ts';
import {isKey, type StorageId, torchPickle} from './torch_pickle.ts';
import {unwrapStateDict} from './unwrap.ts';

/** Five pickles of a RepVGG state dict have less than 100 kB, so this is nearly always enough. */
const firstWindowBytes = 2 ** 18;
const maxWindowBytes = 2 ** 26;
const magic = 0x1950a86a20f9469cfc6cn;
const protocolVersion = 1001;
/** Each storage is preceded by its number of elements as int64. */
const lengthBytes = 8;

/**
 * Reads the container that `torch.save` wrote before PyTorch 1.6, in which the official weights of 2021 came: pickles of
 * a magic number, a protocol version, facts about the writer's machine, the object, and a list of storage keys; then, in
 * that order, each storage's length and bytes. Whatever the machine, these bytes are little-endian (`writeFileRaw` in
 * torch/csrc/generic/serialization.cpp).
 */
export async function readPyTorchLegacy(file: CheckpointFile): Promise<ReadonlyMap<string, TensorInfo>> {
  const storages = new Map<string, Storage>();
  /** Where storages begin, known only once all pickles are read. */
  const positions = new Map<string, number>();

  function makeStorage({key, dtype, length}: StorageId): Storage {
    const storage = new Storage(dtype, length, true, (target, offset) =>
      file.readInto(target, positions.get(key)! + offset, `storage ${printable(key)}`),
    );
    storages.set(key, storage);
    return storage;
  }

  const pickles = new PickleSequence(file, torchPickle(file, makeStorage));
  if ((await pickles.next()) !== magic) {
    const problem = "expected a PyTorch checkpoint but found a pickle without PyTorch's magic number";
    throw file.fail('ERR_CHECKPOINT_FORMAT', problem);
  }
  const version = await pickles.next();
  if (version !== protocolVersion) {
    const problem = `expected PyTorch's legacy protocol ${protocolVersion} but found ${String(version)}`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  await pickles.next();
  const root = await pickles.next();
  const keys = await pickles.next();
  await locate(keys, storages, positions, pickles.position, file);
  return unwrapStateDict(root, file);
}

/** Unpickles from the front of a file, of which it holds no more than it needs. */
class PickleSequence {
  position = 0;
  readonly #file: CheckpointFile;
  readonly #options: PickleOptions;
  #window: Buffer = Buffer.alloc(0);

  constructor(file: CheckpointFile, options: PickleOptions) {
    this.#file = file;
    this.#options = options;
  }

  async next(): Promise<unknown> {
    const limit = Math.min(this.#file.size, maxWindowBytes);
    for (;;) {
      try {
        const {value, end} = unpickle(this.#window, this.position, this.#options);
        this.position = end;
        return value;
      } catch (error) {
        const truncated = error instanceof RepVGGError && error.code === 'ERR_CHECKPOINT_TRUNCATED';
        if (!truncated || this.#window.length === limit) throw error;
      }
      const length = Math.min(limit, Math.max(firstWindowBytes, 4 * this.#window.length));
      this.#window = await this.#file.read(0, length, 'its pickles');
    }
  }
}

/** Notes where each storage begins, by stepping from length to length. */
async function locate(
  keys: unknown,
  storages: ReadonlyMap<string, Storage>,
  positions: Map<string, number>,
  start: number,
  file: CheckpointFile,
): Promise<void> {
  let position = start;
  for (const key of Array.isArray(keys) ? keys : []) {
    const storage = isKey(key) ? storages.get(key) : undefined;
    if (!storage || positions.has(key)) {
      throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its list of storages does not match its tensors');
    }
    const stated = (await file.read(position, lengthBytes, `storage ${printable(key)}`)).readBigInt64LE();
    if (stated !== BigInt(storage.length)) {
      const problem = `storage ${printable(key)} should have ${storage.length} elements but states ${stated}`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    positions.set(key, position + lengthBytes);
    position += lengthBytes + storage.length * elementTypes[storage.dtype].bytes;
    if (position > file.size) {
      const problem = `the file ends at byte ${file.size} but storage ${printable(key)} ends at ${position}`;
      throw file.fail('ERR_CHECKPOINT_TRUNCATED', `${problem}, so download or copy it again`);
    }
  }
  if (positions.size !== storages.size) {
    throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its list of storages lacks some that its tensors use');
  }
}
