import type {ByteRange} from './byte_window.ts';
import type {StateDict, TensorInfo} from './checkpoint.ts';
import {checksum} from './checksum.ts';
import {type DType, elementBytes} from './element_types.ts';
import {type ByteSource, type CheckpointFile, printable} from './file.ts';
import {ProtobufReader} from './protobuf.ts';
import {countElements} from './shape.ts';
import {addTensor, plainView} from './storage.ts';

/**
 * mindspore/ccsrc/utils/checkpoint.proto:
 *
 *     Checkpoint  { repeated Value value = 1; }
 *     Value       { required string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3; }
 *     TensorProto { repeated int64 dims = 1; required string tensor_type = 2; required bytes tensor_content = 3; }
 */
const field = {value: 1, tag: 1, tensor: 2, mapTensor: 3, dims: 1, type: 2, content: 3} as const;

const elementTypesByName: ReadonlyMap<string, DType> = new Map([
  ['Float64', 'f64'],
  ['Float32', 'f32'],
  ['Float16', 'f16'],
  ['BFloat16', 'bf16'],
  ['Int64', 'i64'],
  ['Int32', 'i32'],
  ['Int16', 'i16'],
  ['Int8', 'i8'],
  ['UInt8', 'u8'],
  ['Bool', 'bool'],
]);

/** The type of settings stored by `append_dict`. */
const textType = 'str';

/** Magic numbers of the blocks of encrypted files: AES-GCM, AES-CBC, SM4-CBC. */
const encrypted = [0x7f3a5ed8, 0x7f3a5ed9, 0x7f3a5eda];

/** With `crc_check=True`, files end with this word and the CRC-32 of all bytes before it, as ten bytes in big-endian order. */
const checksumMark = 'crc_num';
const trailerBytes = checksumMark.length + 10;
/** At 512 MB each, more than the largest supported tensor has. */
const maxSlices = 64;

/** Field 1, a message, whose field 1 is printable text of at most 127 bytes; or an encrypted file. */
export function isMindSpore(head: Buffer): boolean {
  if (isEncrypted(head)) return true;
  let at = 1; // A varint: all bytes of the length but the last are 0x80 or more.
  while (at < 5 && head[at]! >= 0x80) at++;
  const length = head[at + 2];
  if (head[0] !== 0x0a || head[at + 1] !== 0x0a || !length || length >= 0x80) return false;
  return head.subarray(at + 3, at + 3 + length).every(byte => byte >= 0x20 && byte < 0x7f);
}

function isEncrypted(head: Buffer): boolean {
  return head.length >= 4 && encrypted.includes(head.readUInt32LE());
}

/**
 * Reads the .ckpt files of MindSpore's `save_checkpoint`, and verifies the checksum if there is one. Tensors stay in the
 * file until they are read; those over 512 MB are stored as consecutive slices of the same name.
 */
export async function readMindSpore(file: CheckpointFile): Promise<StateDict> {
  if (isEncrypted(await file.readHead())) {
    const advice = 'so decrypt it in MindSpore: save_checkpoint(load_checkpoint(path, dec_key=key), out)';
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', `it is an encrypted MindSpore checkpoint, ${advice}`);
  }
  const end = await verifyChecksum(file);
  const tensors = new Map<string, TensorInfo>();
  let sliced: SlicedTensor | undefined;
  for await (const value of values(file, end)) {
    if (sliced && (sliced.name !== value.name || sliced.shape.join() !== value.shape.join())) {
      throw incomplete(sliced, file);
    }
    if (value.type === textType) continue;
    const {name} = value;
    sliced = join(sliced, value);
    if (sliced.ranges.length > maxSlices) {
      const problem = `tensor ${printable(name)} is in more than ${maxSlices} slices`;
      throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
    const dtype = elementTypesByName.get(sliced.type);
    if (!dtype) {
      const problem = `tensor ${printable(name)} has elements of type ${printable(sliced.type)}, so save it as Float32`;
      throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
    const stored = storedBytes(sliced);
    const bytes = countElements(sliced.shape) * elementBytes(dtype);
    if (stored > bytes) throw incomplete(sliced, file);
    if (stored < bytes) continue;
    addTensor(tensors, name, plainView(dtype, sliced.shape, joined(sliced.ranges)), file);
    sliced = undefined;
  }
  if (sliced) throw incomplete(sliced, file);
  if (tensors.size === 0) throw file.fail('ERR_CHECKPOINT_FORMAT', 'expected tensors but found none in it');
  return {tensors};
}

interface StoredTensor {
  name: string;
  type: string;
  shape: number[];
  range: ByteRange;
}

interface SlicedTensor extends Omit<StoredTensor, 'range'> {
  ranges: ByteRange[];
}

function join(before: SlicedTensor | undefined, {range, ...tensor}: StoredTensor): SlicedTensor {
  return {...tensor, ranges: [...(before?.ranges ?? []), range]};
}

function storedBytes({ranges}: SlicedTensor): number {
  return ranges.reduce((sum, range) => sum + range.length, 0);
}

function incomplete(tensor: SlicedTensor, file: CheckpointFile): Error {
  const shown = `tensor ${printable(tensor.name)} of shape [${tensor.shape.join(', ')}]`;
  const problem = `${shown} has ${storedBytes(tensor)} bytes, which are not its elements`;
  return file.fail('ERR_CHECKPOINT_CORRUPT', problem);
}

/** Concatenates ranges. */
function joined(ranges: readonly ByteRange[]): ByteSource {
  const [only, ...others] = ranges;
  if (only && others.length === 0) return only;
  return {
    async readInto(target, offset) {
      let start = 0;
      for (const range of ranges) {
        const end = start + range.length;
        const [from, to] = [Math.max(offset, start), Math.min(offset + target.length, end)];
        if (from < to) await range.readInto(target.subarray(from - offset, to - offset), from - start);
        start = end;
      }
    },
  };
}

async function* values(file: CheckpointFile, end: number): AsyncGenerator<StoredTensor> {
  const reader = new ProtobufReader(file, 'its tensors');
  for await (const value of reader.messages(end, field.value, 'its list of tensors')) {
    const tensor: Partial<StoredTensor> & {shape: number[]} = {shape: []};
    for await (const part of reader.fields(value.end, 'a tensor')) {
      if (part.number === field.mapTensor)
        throw reader.unsupported('it has map tensors, which a RepVGG network has not');
      if (part.kind !== 'bytes') continue;
      if (part.number === field.tag) tensor.name = await reader.text(part);
      if (part.number === field.tensor) await readTensor(reader, part.end, tensor);
    }
    const {name, type, shape, range} = tensor;
    if (name === undefined || type === undefined || !range)
      throw reader.corrupt('it has a tensor without a name, a type or content');
    yield {name, type, range, shape: shape.length === 1 && shape[0] === 0 ? [] : shape};
  }
}

async function readTensor(
  reader: ProtobufReader,
  end: number,
  tensor: Partial<StoredTensor> & {shape: number[]},
): Promise<void> {
  for await (const part of reader.fields(end, 'a tensor')) {
    if (part.number === field.dims) await reader.integers(part, tensor.shape);
    if (part.kind !== 'bytes') continue;
    if (part.number === field.type) tensor.type = await reader.text(part);
    if (part.number === field.content) tensor.range = reader.window.range(part.start, part.end - part.start);
  }
  const negative = tensor.shape.find(size => size < 0);
  if (negative !== undefined) throw reader.corrupt(`it has a tensor with a dimension of ${negative}`);
}

/** Returns where the tensors end. */
async function verifyChecksum(file: CheckpointFile): Promise<number> {
  const end = file.size - trailerBytes;
  if (end < 0) return file.size;
  const trailer = await file.read(end, trailerBytes, 'its checksum');
  if (trailer.toString('latin1', 0, checksumMark.length) !== checksumMark) return file.size;
  const buffer = Buffer.allocUnsafe(Math.min(end, 2 ** 22));
  let value = 0;
  for (let position = 0; position < end; position += buffer.length) {
    const part = buffer.subarray(0, end - position);
    await file.readInto(part, position, 'its tensors');
    value = await checksum(part, value);
  }
  const stated = BigInt(`0x${trailer.toString('hex', checksumMark.length)}`);
  if (stated === BigInt(value)) return end;
  throw file.fail('ERR_CHECKPOINT_CORRUPT', 'it does not match its checksum');
}
