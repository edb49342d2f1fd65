import {randomUUID} from 'node:crypto';
import {
  access,
  constants,
  type FileHandle,
  open,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import {endianness} from 'node:os';
import {basename, dirname, join} from 'node:path';
import {invalidArgument, RepVGGError} from '../errors.ts';
import {op} from './pickle_opcodes.ts';
import {ZipWriter} from './zip_writer.ts';

/** A tensor to be written; `values` is asked once, when its turn comes. */
export interface TensorToWrite {
  name: string;
  shape: readonly number[];
  dtype: 'f32';
  /** The elements in row-major order. */
  values(): Promise<Float32Array>;
}

/**
 * Writes a state dict as `torch.save` does: the zip container, version 3, with a pickle of an OrderedDict from names to
 * tensors, each with a storage of its own. `torch.load(weights_only=True)` reads it, and `mmap=True` too. Tensors are
 * asked for one by one, so memory stays near the largest. The file appears under its name only when it is complete and on
 * the disk; until then, and after an error, whatever was there before stays. It takes the place of a regular file alone,
 * keeps its mode, and is written where a symbolic link leads to.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for a repeated name or values that do not fit the shape, ERR_FILE_WRITE, or
 *   whatever `values` throws; the reason of `signal` once it is aborted
 */
export async function writePyTorch(
  path: string,
  tensors: readonly TensorToWrite[],
  signal?: AbortSignal,
): Promise<void> {
  if (typeof path !== 'string' || path === '')
    throw invalidArgument('path', 'the path of a file to write', path);
  const names = new Set(tensors.map(({name}) => name));
  if (names.size !== tensors.length) throw invalidArgument('tensors', 'tensors of different names', tensors);
  let temporary: string | undefined;
  try {
    const {target, mode} = await destination(path);
    temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}.tmp`);
    const file = await open(temporary, 'wx');
    try {
      if (mode !== undefined) await file.chmod(mode);
      await writeZip(file, tensors);
      await file.sync();
    } finally {
      await file.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, target);
  } catch (error) {
    // The first error is the one to report, even where the temporary file cannot be removed either.
    if (temporary !== undefined) await rm(temporary, {force: true}).catch(() => undefined);
    signal?.throwIfAborted();
    if (error instanceof RepVGGError) throw error;
    const {code, message} = error as NodeJS.ErrnoException;
    const problems: Record<string, string> = {
      ENOENT: `there is no folder ${dirname(path)}`,
      EACCES: 'permission denied',
    };
    const problem = problems[code ?? ''] ?? message;
    throw new RepVGGError('ERR_FILE_WRITE', `Cannot write checkpoint ${path}: ${problem}.`, {cause: error});
  }
}

/** Where the file goes, and the mode of the one whose place it takes. */
async function destination(path: string): Promise<{target: string; mode?: number}> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const link = await readlink(path).catch(() => undefined);
    if (link !== undefined) throw new Error(`it is a link to ${link}, which does not exist`);
    return {target: path};
  }
  const stats = await stat(target);
  if (stats.isDirectory()) throw new Error('it is a directory');
  if (!stats.isFile()) throw new Error('it is not a regular file');
  await access(target, constants.W_OK);
  return {target, mode: stats.mode & 0o7777};
}

async function writeZip(file: FileHandle, tensors: readonly TensorToWrite[]): Promise<void> {
  const zip = new ZipWriter(file);
  await zip.add('archive/data.pkl', pickleStateDict(tensors));
  await zip.add('archive/byteorder', Buffer.from(endianness() === 'LE' ? 'little' : 'big'));
  for (const [key, {name, shape, values}] of tensors.entries()) {
    const array = await values();
    const count = countElements(shape);
    if (array.length !== count) {
      throw invalidArgument(`the values of ${name}`, `${count} numbers`, array.length);
    }
    await zip.add(`archive/data/${key}`, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  await zip.add('archive/version', Buffer.from('3\n'));
  await zip.end();
}

/** Protocol 2, as `torch.save` uses, without a memo: each tensor names what it needs again. */
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
    const stride = shape.map((_, axis) => countElements(shape.slice(axis + 1)));
    return [
      text(name),
      global('torch._utils', '_rebuild_tensor_v2'),
      ...tuple([
        ...tuple(storage),
        bytes(op.BINPERSID),
        integer(0),
        ...tuple(shape.map(integer)),
        ...tuple(stride.map(integer)),
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

function countElements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
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

/** Sizes of files below 4 GiB fit in int32. */
function integer(value: number): Buffer {
  const bytes = Buffer.alloc(5, op.BININT);
  bytes.writeInt32LE(value, 1);
  return bytes;
}
