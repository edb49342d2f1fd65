/** Pickled numpy arrays, the form in which Paddle and MegEngine store weights. */
import {setImmediate as nextTurn} from 'node:timers/promises';
import {type DType, elementBytes} from '../element_types.ts';
import {type ByteSource, type CheckpointFile, printable} from '../file.ts';
import {countElements, isShape, rowMajorStride} from '../shape.ts';
import {Storage, TensorView} from '../storage.ts';
import {type PickleContext, PickleGlobal, type PickleState} from './python_objects.ts';
import {PickleBytes} from './reader.ts';

/** By numpy's type codes, without the byte order. */
const elementCodes: ReadonlyMap<string, DType> = new Map([
  ['f8', 'f64'],
  ['f4', 'f32'],
  ['f2', 'f16'],
  ['i8', 'i64'],
  ['i4', 'i32'],
  ['i2', 'i16'],
  ['i1', 'i8'],
  ['u1', 'u8'],
  ['b1', 'bool'],
]);

/** `numpy.dtype('f4', False, True)`. Its state has the byte order: (3, '<', None, None, None, -1, -1, 0). */
class NumpyType implements PickleState {
  readonly code: string;
  littleEndian = true;

  constructor(code: string) {
    this.code = code;
  }

  setState(state: unknown): void {
    this.littleEndian = !(Array.isArray(state) && state[1] === '>');
  }
}

/** An array, created empty and filled by its state. */
export class NumpyArray implements PickleState {
  #shape: readonly number[] = [];
  #type: NumpyType | undefined;
  #columnMajor = false;
  #bytes: PickleBytes | undefined;

  /** The state is (version, shape, type, whether it is column-major, bytes); the version was added in numpy 1.0. */
  setState(state: unknown, context: PickleContext): void {
    const [shape, type, columnMajor, bytes] = Array.isArray(state) ? state.slice(-4) : [];
    this.set(shape, type, columnMajor === true, bytes, context);
  }

  set(shape: unknown, type: unknown, columnMajor: boolean, bytes: unknown, context: PickleContext): this {
    if (!isShape(shape) || !(type instanceof NumpyType)) throw context.corrupt('has a malformed array');
    this.#shape = shape;
    this.#type = type;
    this.#columnMajor = columnMajor;
    if (typeof bytes === 'string') this.#bytes = bytesOf(bytes);
    // An array of objects has a list instead of bytes.
    if (bytes instanceof PickleBytes) this.#bytes = bytes;
    return this;
  }

  /** @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED, or ERR_CHECKPOINT_CORRUPT if its bytes do not fit its shape */
  view(name: string, file: CheckpointFile): TensorView {
    const code = this.#type?.code ?? 'nothing';
    const dtype = elementCodes.get(code);
    const bytes = this.#bytes;
    if (!dtype || !bytes) {
      const problem = `array ${name} has elements of numpy's type ${printable(code)}, so save it as float32`;
      throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
    const shape = this.#shape;
    const count = countElements(shape);
    const expected = count * elementBytes(dtype);
    const {length} = bytes.range;
    // In UTF-8, bytes from 128 on take two.
    if (bytes.isText ? length < expected || length > 2 * expected : length !== expected) {
      const problem = `array ${name} of shape [${shape.join(', ')}] needs ${expected} bytes but has ${length}`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    const source: ByteSource = bytes.isText
      ? {readInto: (target, offset) => readText(bytes, expected, target, offset, name, file)}
      : bytes.range;
    const storage = new Storage(dtype, count, this.#type!.littleEndian, source);
    const stride = this.#columnMajor ? columnMajorStride(shape) : rowMajorStride(shape);
    return new TensorView(storage, 0, shape, stride);
  }
}

function columnMajorStride(shape: readonly number[]): number[] {
  return rowMajorStride([...shape].reverse()).reverse();
}

/** Bytes that a pickle stores as a short Latin-1 text. */
function bytesOf(text: string): PickleBytes {
  const bytes = Buffer.from(text, 'latin1');
  const readInto = async (target: Uint8Array, offset: number): Promise<void> =>
    target.set(bytes.subarray(offset, offset + target.length));
  return new PickleBytes({length: bytes.length, readInto}, false);
}

/** Decodes bytes that are stored as Latin-1 characters in UTF-8. */
async function readText(
  {range}: PickleBytes,
  length: number,
  target: Uint8Array,
  offset: number,
  name: string,
  file: CheckpointFile,
): Promise<void> {
  const text = Buffer.allocUnsafe(range.length);
  await range.readInto(text, 0);
  const decoded = new Uint8Array(length);
  const malformed = (): Error =>
    file.fail('ERR_CHECKPOINT_CORRUPT', `the text of array ${name} is not that of ${length} bytes`);
  let to = 0;
  for (let from = 0; from < text.length; ) {
    if (to === length) throw malformed();
    if ((to & 0xfffff) === 0xfffff) await nextTurn();
    const byte = text[from++]!;
    if (byte < 0x80) {
      decoded[to++] = byte;
      continue;
    }
    const next = text[from++];
    if ((byte !== 0xc2 && byte !== 0xc3) || next === undefined || (next & 0xc0) !== 0x80) throw malformed();
    decoded[to++] = ((byte & 3) << 6) | (next & 0x3f);
  }
  if (to !== length) throw malformed();
  target.set(decoded.subarray(offset, offset + target.length));
}

/** Protocol 2 writes bytes as `_codecs.encode(text, 'latin1')`, and none, as those of an empty array, as `bytes()`. */
function encode([text = '']: readonly unknown[], context: PickleContext): PickleBytes {
  if (text instanceof PickleBytes) return text;
  if (typeof text !== 'string') throw context.corrupt('has malformed bytes');
  context.count(text.length / 16);
  return bytesOf(text);
}

/** `numpy.core` became `numpy._core` in numpy 2. */
const bothNames = (name: string, call: PickleGlobal['call']): PickleGlobal[] =>
  ['core', '_core'].map(core => new PickleGlobal(`numpy.${core}.${name}`, call));

export const numpyGlobals: readonly PickleGlobal[] = [
  new PickleGlobal('_codecs.encode', encode),
  new PickleGlobal('builtins.bytes', encode),
  new PickleGlobal('numpy.dtype', ([code], context) => {
    if (typeof code === 'string') return new NumpyType(code);
    throw context.corrupt('has a malformed type of array');
  }),
  ...bothNames('multiarray._reconstruct', () => new NumpyArray()),
  ...bothNames('multiarray.scalar', () => null),
  // MegEngine's tensors outside a state dict: Tensor(array, type, device). Read as a pair, which is Paddle's form.
  ...['Tensor', 'Parameter'].map(
    name => new PickleGlobal(`megengine.tensor.${name}`, ([array]) => [name, array]),
  ),
  // Protocol 5: _frombuffer(bytes, type, shape, order)
  ...bothNames('numeric._frombuffer', ([bytes, type, shape, order], context) =>
    new NumpyArray().set(shape, type, order === 'F', bytes, context),
  ),
];
