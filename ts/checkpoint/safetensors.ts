import {isUtf8} from 'node:buffer';
import type {RepVGGError} from '../errors.ts';
import type {StateDict} from './checkpoint.ts';
import {type DType, elementBytes} from './element_types.ts';
import {type CheckpointFile, printable} from './file.ts';
import {JsonCursor} from './json_cursor.ts';
import {countElements, maxDimensions} from './shape.ts';
import {checkTensorCount, plainView, type TensorView} from './storage.ts';
import {nameTensors} from './unwrap.ts';
import {readUse} from './use_metadata.ts';

/**
 * Limit for a header, for all headers of a sharded checkpoint together, and for its index. The largest RepVGG has a header
 * of 160 kB; the format allows 100 MB, which hostile JSON could use to keep the CPU busy for long.
 */
export const maxHeaderBytes: number = 2 ** 22;

const dtypes: Readonly<Record<string, DType>> = {
  F64: 'f64',
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  I64: 'i64',
  I32: 'i32',
  I16: 'i16',
  I8: 'i8',
  U8: 'u8',
  BOOL: 'bool',
};

/** The length of a JSON object, which is not text since its upper bytes are 0 in practice, and the object's first character. */
export function isSafetensors(head: Buffer): boolean {
  return head[8] === 0x7b && /[^\t\n\r\x20-\x7e]/.test(head.toString('latin1', 0, 8));
}

/**
 * Reads the format of github.com/huggingface/safetensors: the header length as uint64; the header, a JSON object from names
 * to dtype, shape and offsets; and the tensors, row-major and little-endian, without gaps.
 *
 * @param headers total size of the headers read so far of the same checkpoint
 */
export async function readSafetensors(file: CheckpointFile, headers = {bytes: 0}): Promise<StateDict> {
  const {bytes, views, metadata} = await readHeader(file);
  headers.bytes += bytes;
  return {tensors: nameTensors(views, file), ...readUse(metadata, file)};
}

async function readHeader(
  file: CheckpointFile,
): Promise<{bytes: number; views: [string, TensorView][]; metadata: Map<string, string>}> {
  const length = (await file.read(0, 8, 'the length of its header')).readBigUInt64LE();
  if (length > maxHeaderBytes) throw tooLong('its header has', length, file);
  const dataStart = 8 + Number(length);
  const {entries, metadata} = parseHeader(await file.read(8, Number(length), 'its header'), file);
  const end = checkRanges(entries, file);
  file.checkEnd(dataStart + end, 'its last tensor');
  if (dataStart + end < file.size) {
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `bytes follow the end of its tensors at ${dataStart + end}`);
  }
  const views = entries.map(({name, dtype, shape, begin}): [string, TensorView] => {
    return [name, plainView(dtype, shape, file.from(dataStart + begin, `tensor ${printable(name)}`))];
  });
  return {bytes: Number(length), views, metadata};
}

interface Entry {
  name: string;
  dtype: DType;
  shape: number[];
  begin: number;
  end: number;
}

function parseHeader(bytes: Buffer, file: CheckpointFile): {entries: Entry[]; metadata: Map<string, string>} {
  const entries: Entry[] = [];
  const metadata = new Map<string, string>();
  const json = cursor(bytes, 'header', file);
  json.object(name => {
    if (name !== '__metadata__') {
      checkTensorCount(entries.push(parseEntry(json, name, file)), file);
      return;
    }
    json.object(key => {
      metadata.set(key, json.string());
    });
  });
  json.end();
  return {entries, metadata};
}

function parseEntry(json: JsonCursor, name: string, file: CheckpointFile): Entry {
  const shown = `tensor ${printable(name)}`;
  const numbers = (): number[] => {
    const list: number[] = [];
    json.array(() => {
      if (list.push(json.integer()) > maxDimensions)
        throw json.fail(`more than ${maxDimensions} numbers in ${shown}`);
    });
    return list;
  };
  let type: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  json.object(field => {
    if (field === 'dtype') type = json.string();
    else if (field === 'shape') shape = numbers();
    else if (field === 'data_offsets') offsets = numbers();
    else throw json.fail(`the field ${printable(field)} in ${shown}`);
  });
  if (type === undefined || !shape || offsets?.length !== 2) throw json.fail(`an incomplete ${shown}`);
  if (!Object.hasOwn(dtypes, type)) {
    const problem = `${shown} has the type ${printable(type)}, which is not supported, so save it with .float()`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  const dtype = dtypes[type]!;
  const [begin, end] = offsets as [number, number];
  const bytes = countElements(shape) * elementBytes(dtype);
  if (end - begin === bytes) return {name, dtype, shape, begin, end};
  const problem = `${shown} of shape [${shape.join(', ')}] has bytes ${begin} to ${end}, not ${bytes} of them`;
  throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
}

/** Checks that tensors follow each other without gaps or overlaps, in any order of names. Returns the end of the last. */
function checkRanges(entries: readonly Entry[], file: CheckpointFile): number {
  let position = 0;
  for (const {name, begin, end} of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== position) {
      const problem = begin < position ? 'overlaps the tensor before it' : 'follows a gap';
      throw file.fail(
        'ERR_CHECKPOINT_CORRUPT',
        `tensor ${printable(name)} at byte ${begin} of the data ${problem}`,
      );
    }
    position = end;
  }
  return position;
}

export function tooLong(what: string, bytes: number | bigint, file: CheckpointFile): RepVGGError {
  const problem = `${what} ${bytes} bytes, where at most ${maxHeaderBytes} are supported`;
  return file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
}

export function cursor(bytes: Buffer, what: string, file: CheckpointFile): JsonCursor {
  if (!isUtf8(bytes)) throw file.fail('ERR_CHECKPOINT_CORRUPT', `its ${what} is not UTF-8`);
  return new JsonCursor(bytes.toString(), problem =>
    file.fail('ERR_CHECKPOINT_CORRUPT', `its ${what} ${problem}`),
  );
}
