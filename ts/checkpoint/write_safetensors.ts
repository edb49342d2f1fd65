import type {FileHandle} from 'node:fs/promises';
import {endianness} from 'node:os';
import {append, replaceFile} from '../support/replace_file.ts';
import {countElements} from './shape.ts';
import {checkNames, type TensorToWrite, tensorBytes} from './state_dict.ts';

/** Data is aligned so that readers can map it into memory. */
const alignment = 8;

export interface SafetensorsOptions {
  metadata?: Readonly<Record<string, string>> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Writes a state dict as safetensors, with the metadata that timm and transformers require, and that given. Tensors are requested one at a
 * time, so memory stays near the size of the largest. An existing file is replaced as by `replaceFile`.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for a repeated name or values that do not fit the shape, ERR_FILE_WRITE, or
 *   whatever `values` throws; the reason of `signal` once it is aborted
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  {signal, metadata = {}}: SafetensorsOptions = {},
): Promise<void> {
  checkNames(tensors);
  const head = header(tensors, metadata);
  const write = async (file: FileHandle): Promise<void> => {
    await append(file, head);
    for (const tensor of tensors) {
      signal?.throwIfAborted();
      const bytes = await tensorBytes(tensor);
      await append(file, endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32());
    }
  };
  await replaceFile(path, write, signal);
}

/** The header's length, and the JSON object with the offsets of the tensors, padded with spaces. */
function header(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Buffer {
  let end = 0;
  const entries = tensors.map(({name, shape}) => {
    const begin = end;
    end += 4 * countElements(shape);
    return [name, {dtype: 'F32', shape, data_offsets: [begin, end]}] as const;
  });
  // Not built as an object, since a name may be `__proto__`, and integer keys would be reordered.
  const members = [['__metadata__', {format: 'pt', ...metadata}] as const, ...entries].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  const json = Buffer.from(`{${members.join()}}`);
  const padded = Math.ceil(json.length / alignment) * alignment;
  const bytes = Buffer.alloc(8 + padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded));
  json.copy(bytes, 8);
  return bytes;
}
