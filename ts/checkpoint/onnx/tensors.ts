/** Parses the tensors of ONNX files. Their values stay in the file, or in an external one beside it, until they are read. */
import {type ByteRange, ByteWindow} from '../byte_window.ts';
import {type DType, elementBytes} from '../element_types.ts';
import {type CheckpointFile, printable} from '../file.ts';
import type {ProtobufReader} from '../protobuf.ts';
import {countElements} from '../shape.ts';
import {plainView, type TensorView} from '../storage.ts';
import {readEntry} from './metadata.ts';

/** A tensor, or why it cannot be read, which matters only if it is a weight. */
export type OnnxTensor = TensorView | string;

// Field and type numbers: onnx/onnx.proto in github.com/onnx/onnx.
const field = {
  dims: 1,
  dataType: 2,
  floats: 4,
  name: 8,
  raw: 9,
  doubles: 10,
  external: 13,
  location: 14,
} as const;

const dtypes: ReadonlyMap<number, DType> = new Map([
  [1, 'f32'],
  [2, 'u8'],
  [3, 'i8'],
  [5, 'i16'],
  [6, 'i32'],
  [7, 'i64'],
  [9, 'bool'],
  [10, 'f16'],
  [11, 'f64'],
  [16, 'bf16'],
]);

/** Entries of a reference to an external file, such as its name, an offset and a length. */
const maxEntries = 64;
const maxExternalFiles = 256;

/** Reads tensors, and opens each external file once. */
export class OnnxTensorReader {
  readonly #reader: ProtobufReader;
  readonly #external = new Map<string, CheckpointFile>();

  constructor(reader: ProtobufReader) {
    this.#reader = reader;
  }

  /** Reads the tensor at the window's position, which ends at `end`. */
  async read(end: number): Promise<{name: string; tensor: OnnxTensor}> {
    const reader = this.#reader;
    const shape: number[] = [];
    const external = new Map<string, string>();
    let name = '';
    let type = 0;
    let isExternal = false;
    let data: ByteRange | undefined;
    for await (const part of reader.fields(end, 'a tensor')) {
      const {number} = part;
      if (number === field.dims) await reader.integers(part, shape);
      if (part.kind === 'integer') {
        if (number === field.dataType) type = Number(part.value);
        if (number === field.location) isExternal = part.value === 1n;
      }
      if (part.kind !== 'bytes') continue;
      if (number === field.name) name = await reader.text(part);
      if (number === field.external) {
        external.set(...(await readEntry(reader, part)));
        if (external.size > maxEntries)
          throw reader.corrupt('it has a reference to another file of too many parts');
      }
      if (number === field.raw || number === field.floats || number === field.doubles) {
        if (data) throw reader.unsupported(`tensor ${printable(name)} is in several pieces`);
        data = reader.window.range(part.start, part.end - part.start);
      }
    }
    const shown = `tensor ${printable(name)} of shape [${shape.join(', ')}]`;
    const dtype = dtypes.get(type);
    if (shape.some(size => size < 0)) throw reader.corrupt(`${shown} has a negative size`);
    if (!dtype) return {name, tensor: `${shown} has ONNX's data type ${type}`};
    const elements = countElements(shape);
    const bytes = elements * elementBytes(dtype);
    if (isExternal) data = await this.#externalData(external, bytes, shown);
    if (elements > 0 && !data) return {name, tensor: `${shown} is not stored as raw data`};
    if (elements > 0 && data!.length !== bytes)
      throw reader.corrupt(`${shown} has ${data!.length} bytes, not ${bytes}`);
    return {name, tensor: plainView(dtype, shape, data ?? {readInto: async () => {}})};
  }

  /** The range of an external file that holds a tensor. */
  async #externalData(
    entries: ReadonlyMap<string, string>,
    bytes: number,
    shown: string,
  ): Promise<ByteRange> {
    const {file: own} = this.#reader;
    const location = entries.get('location') ?? '';
    const offset = this.#decimal(entries.get('offset') ?? '0');
    const length = this.#decimal(entries.get('length') ?? String(bytes));
    if (!this.#external.has(location) && this.#external.size === maxExternalFiles)
      throw this.#reader.unsupported(`its tensors are in more than ${maxExternalFiles} files`);
    const file = this.#external.get(location) ?? (await own.openSibling(location));
    this.#external.set(location, file);
    file.checkEnd(offset + length, `${shown} of ${printable(own.path)}`);
    return new ByteWindow(file, shown).range(offset, length);
  }

  #decimal(text: string): number {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (Number.isSafeInteger(value)) return value;
    throw this.#reader.corrupt(`it has ${printable(text)} where an offset or a length should be`);
  }
}
