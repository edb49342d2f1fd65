import type {FileHandle} from 'node:fs/promises';
import {endianness} from 'node:os';
import {replaceFile} from '../support/replace_file.ts';
import {op} from './pickle/opcodes.ts';
import {countElements, rowMajorStride} from './shape.ts';
import {checkNames, type TensorToWrite, tensorBytes} from './state_dict.ts';
import {ZipWriter} from './zip_writer.ts';

/**
 * Writes a state dict as `torch.save` does: the zip container, version 3, with a pickle of an OrderedDict from names to
 * tensors, each with a storage of its own. `torch.load` reads it, also with `weights_only=True` and `mmap=True`. Tensors are
 * requested one at a time, so memory stays near the size of the largest. An existing file is replaced as by `replaceFile`.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for a repeated name or values that do not fit the shape, ERR_FILE_WRITE, or
 *   whatever `values` throws; the reason of `signal` once it is aborted
 */
export async function writePyTorch(
  path: string,
  tensors: readonly TensorToWrite[],
  signal?: AbortSignal,
): Promise<void> {
  checkNames(tensors);
  await replaceFile(path, file => writeZip(file, tensors, signal), signal);
}

async function writeZip(
  file: FileHandle,
  tensors: readonly TensorToWrite[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const zip = new ZipWriter(file);
  await zip.add('archive/data.pkl', pickleStateDict(tensors));
  await zip.add('archive/byteorder', Buffer.from(endianness() === 'LE' ? 'little' : 'big'));
  for (const [key, tensor] of tensors.entries()) {
    signal?.throwIfAborted();
    await zip.add(`archive/data/${key}`, await tensorBytes(tensor));
  }
  await zip.add('archive/version', Buffer.from('3\n'));
  await zip.end();
}

/** Protocol 2, as `torch.save` uses, but without a memo: every tensor repeats the names that it needs. */
function pickleStateDict(tensors: readonly TensorToWrite[]): Buffer {
  const emptyOrderedDict = [global('collections', 'OrderedDict'), bytes(op.EMPTY_TUPLE), bytes(op.REDUCE)];
  const items = tensors.flatMap(({name, shape}, key) => {
    const storage = [
      text('storage'),
      global('torch', 'FloatStorage'),
      text(String(key)),
      text('cpu'),
      integer(countElements(shape)),
    ];
    return [
      text(name),
      global('torch._utils', '_rebuild_tensor_v2'),
      ...tuple([
        ...tuple(storage),
        bytes(op.BINPERSID),
        integer(0),
        ...tuple(shape.map(integer)),
        ...tuple(rowMajorStride(shape).map(integer)),
        bytes(op.NEWFALSE),
        ...emptyOrderedDict,
      ]),
      bytes(op.REDUCE),
    ];
  });
  return Buffer.concat([
    bytes(op.PROTO, 2),
    ...emptyOrderedDict,
    bytes(op.MARK),
    ...items,
    bytes(op.SETITEMS),
    bytes(op.STOP),
  ]);
}

function bytes(...bytes: number[]): Buffer {
  return Buffer.from(bytes);
}

function tuple(items: readonly Buffer[]): Buffer[] {
  return [bytes(op.MARK), ...items, bytes(op.TUPLE)];
}

function global(module: string, name: string): Buffer {
  return Buffer.concat([bytes(op.GLOBAL), Buffer.from(`${module}\n${name}\n`)]);
}

function text(value: string): Buffer {
  const utf8 = Buffer.from(value);
  const head = Buffer.alloc(5, op.BINUNICODE);
  head.writeUInt32LE(utf8.length, 1);
  return Buffer.concat([head, utf8]);
}

/** Element counts of files below 4 GiB fit in int32. */
function integer(value: number): Buffer {
  const bytes = Buffer.alloc(5, op.BININT);
  bytes.writeInt32LE(value, 1);
  return bytes;
}
