import {setImmediate as nextTurn} from 'node:timers/promises';
import type {Checkpoint, StateDict} from './checkpoint.ts';
import {CheckpointFile} from './file.ts';
import {foreignFile} from './foreign.ts';
import {isMindSpore, readMindSpore} from './mindspore.ts';
import {isOnnx} from './onnx/model.ts';
import {readOnnx} from './onnx/onnx.ts';
import {readPlainPickle} from './pickle/plain_pickle.ts';
import {isPyTorchLegacy, readPyTorchLegacy} from './pytorch_legacy.ts';
import {readPyTorchTar} from './pytorch_tar.ts';
import {isPyTorchZip, readPyTorchZip} from './pytorch_zip.ts';
import {isSafetensors, readSafetensors} from './safetensors.ts';
import {readSharded} from './sharded.ts';

/** A file format for tensors, recognised by the first bytes of a file. */
interface Container {
  format: string;
  matches(head: Buffer): boolean;
  read(file: CheckpointFile): Promise<StateDict>;
}

const containers: readonly Container[] = [
  {format: 'PyTorch zip', matches: isPyTorchZip, read: readPyTorchZip},
  // Before the pickles, since the header length may begin with the first bytes of a pickle.
  {format: 'safetensors', matches: isSafetensors, read: readSafetensors},
  {format: 'PyTorch legacy', matches: isPyTorchLegacy, read: readPyTorchLegacy},
  // Binary pickles begin with the opcode PROTO and a protocol number.
  {format: 'Python pickle', matches: head => head[0] === 0x80 && head[1]! <= 5, read: readPlainPickle},
  {
    format: 'PyTorch tar',
    matches: head => head.toString('latin1', 257, 262) === 'ustar',
    read: readPyTorchTar,
  },
  {format: 'MindSpore checkpoint', matches: isMindSpore, read: readMindSpore},
  {format: 'ONNX', matches: isOnnx, read: readOnnx},
  {
    format: 'index of several files',
    matches: head => /^\s*\{\s*"(metadata|weight_map)"/.test(head.toString('latin1')),
    read: readSharded,
  },
];

const anyContainer = 'a checkpoint of PyTorch, safetensors, ONNX, Paddle, MegEngine or MindSpore';

/**
 * Opens a checkpoint and lists its tensors. The container is recognised by content, not by file name. No code in the file
 * is executed, and no tensor is read yet. Close the checkpoint, or bind it with `await using`.
 *
 * @throws {RepVGGError} ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_CHECKPOINT_FORMAT if the file is not a checkpoint,
 *   ERR_CHECKPOINT_TRUNCATED, ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_UNSAFE if its pickle would run code, or
 *   ERR_CHECKPOINT_UNSUPPORTED
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  return readCheckpoint(await CheckpointFile.open(path));
}

/** Lists the tensors of a file and takes ownership of it: it is closed with the checkpoint, or on an error. */
export async function readCheckpoint(file: CheckpointFile): Promise<Checkpoint> {
  try {
    const head = await file.readHead();
    const container = containers.find(({matches}) => matches(head));
    if (!container) throw file.fail('ERR_CHECKPOINT_FORMAT', foreignFile(head, anyContainer));
    const {tensors, key, eps, preprocessing, labels} = await container.read(file);
    await nextTurn(); // Parsing and what the caller does next take some milliseconds each.
    const close = (): Promise<void> => file.close();
    const {format} = container;
    return {
      path: file.path,
      format,
      tensors,
      key,
      eps,
      preprocessing,
      labels,
      checkUnchanged: () => file.checkUnchanged(),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}
