import type {RepVGGError, RepVGGErrorCode} from '../../errors.ts';
import type {ByteRange, ByteWindow} from '../byte_window.ts';
import {printable} from '../file.ts';
import {op} from './opcodes.ts';

/** Bytes of an integer; PyTorch's magic number has 10. */
const maxIntegerBytes = 256;
/** Bytes of a line of text: a module, a name or a number. */
const maxLineBytes = 1024;
/** Bytes of text that is read at once, such as names and keys. */
const maxTextBytes = 4096;
/** No opcode and its arguments need more bytes than this: two lines, or a text and its length. */
const opcodeBytes = 8192;

/** Bytes or a long UTF-8 text in a pickle, not read yet: the numbers of an array, for example. */
export class PickleBytes {
  readonly range: ByteRange;
  readonly isText: boolean;

  constructor(range: ByteRange, isText: boolean) {
    this.range = range;
    this.isText = isText;
  }
}

/** Reads opcodes and their arguments from a pickle, checking every length against the bytes there are. */
export class PickleReader {
  readonly #window: ByteWindow;
  readonly #fail: (code: RepVGGErrorCode, problem: string) => RepVGGError;

  constructor(window: ByteWindow, fail: (code: RepVGGErrorCode, problem: string) => RepVGGError) {
    this.#window = window;
    this.#fail = fail;
  }

  get position(): number {
    return this.#window.position;
  }

  /** Whether the next opcode and its arguments are buffered; {@link fill} buffers them. */
  get isFilled(): boolean {
    return this.#window.holds(opcodeBytes);
  }

  fill(): Promise<void> {
    return this.#window.fill(opcodeBytes);
  }

  take(length: number): Buffer {
    this.#check(length);
    const bytes = this.#window.peek(length);
    this.#window.position += length;
    return bytes;
  }

  unsigned(size: 1 | 2 | 4 | 8): number {
    const bytes = this.take(size);
    return size === 8 ? Number(bytes.readBigUInt64LE()) : bytes.readUIntLE(0, size);
  }

  /** Skips bytes that are preceded by their length, an integer of `size` bytes. */
  bytes(size: 1 | 4 | 8): PickleBytes {
    return this.#skip(this.unsigned(size), false);
  }

  text(size: 1 | 4 | 8): string | PickleBytes {
    const length = this.unsigned(size);
    return length <= maxTextBytes ? this.take(length).toString('utf8') : this.#skip(length, true);
  }

  /** Strings of Python 2 are bytes. Latin-1 preserves them, whether they are names or numbers of an array. */
  byteText(size: 1 | 4): string | PickleBytes {
    const length = this.unsigned(size);
    return length <= maxTextBytes ? this.take(length).toString('latin1') : this.#skip(length, false);
  }

  /** A two's complement integer, preceded by its length. */
  integer(size: 1 | 4): number | bigint {
    const length = this.unsigned(size);
    if (length > maxIntegerBytes) throw this.corrupt(`has an integer of ${length} bytes`);
    if (length === 0) return 0;
    const digits = Buffer.from(this.take(length)).reverse().toString('hex');
    return narrow(BigInt.asIntN(8 * length, BigInt(`0x${digits}`)));
  }

  line(): string {
    const window = this.#window.peek(Math.min(maxLineBytes, this.#window.left));
    const length = window.indexOf('\n');
    if (length >= 0) return this.take(length + 1).toString('utf8', 0, length);
    if (window.length === maxLineBytes) throw this.corrupt('has a line of text without an end');
    // The pickle ends within the line: taking one more byte reports it as truncated.
    return this.take(window.length + 1).toString();
  }

  /** A decimal integer on a line: protocol 1 writes booleans as 00 and 01, and long integers with a trailing L. */
  integerLine(): number | bigint | boolean {
    const text = this.line();
    if (text === '00' || text === '01') return text === '01';
    if (/^-?\d{1,600}L?$/.test(text)) return narrow(BigInt(text.replace('L', '')));
    throw this.corrupt(`has ${printable(text)} where an integer should be`);
  }

  corrupt(problem: string): RepVGGError {
    return this.#fail('ERR_CHECKPOINT_CORRUPT', `its pickle ${problem}`);
  }

  #skip(length: number, isText: boolean): PickleBytes {
    this.#check(length);
    const range = this.#window.range(this.position, length);
    this.#window.position += length;
    return new PickleBytes(range, isText);
  }

  /** Checks that this many bytes remain. */
  #check(length: number): void {
    const {position, left} = this.#window;
    if (length <= left) return;
    const problem = `its pickle wants ${length} bytes at byte ${position}, where ${left} are left`;
    throw this.#fail('ERR_CHECKPOINT_TRUNCATED', problem);
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** The opcodes that push a constant or the value that follows them. Tuples and lists both become arrays. */
export const literals: ReadonlyMap<number, (reader: PickleReader) => unknown> = new Map<
  number,
  (reader: PickleReader) => unknown
>([
  [op.NONE, () => null],
  [op.NEWTRUE, () => true],
  [op.NEWFALSE, () => false],
  [op.BININT, reader => reader.take(4).readInt32LE()],
  [op.BININT1, reader => reader.unsigned(1)],
  [op.BININT2, reader => reader.unsigned(2)],
  [op.LONG1, reader => reader.integer(1)],
  [op.LONG4, reader => reader.integer(4)],
  [op.INT, reader => reader.integerLine()],
  [op.LONG, reader => reader.integerLine()],
  [op.BINFLOAT, reader => reader.take(8).readDoubleBE()],
  [op.SHORT_BINSTRING, reader => reader.byteText(1)],
  [op.BINSTRING, reader => reader.byteText(4)],
  [op.SHORT_BINUNICODE, reader => reader.text(1)],
  [op.BINUNICODE, reader => reader.text(4)],
  [op.BINUNICODE8, reader => reader.text(8)],
  [op.SHORT_BINBYTES, reader => reader.bytes(1)],
  [op.BINBYTES, reader => reader.bytes(4)],
  [op.BINBYTES8, reader => reader.bytes(8)],
  [op.BYTEARRAY8, reader => reader.bytes(8)],
  [op.EMPTY_LIST, () => []],
  [op.EMPTY_TUPLE, () => []],
  [op.EMPTY_DICT, () => new Map()],
  [op.EMPTY_SET, () => new Set()],
]);
