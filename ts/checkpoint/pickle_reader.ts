import type {RepVGGError, RepVGGErrorCode} from '../errors.ts';
import {printable} from './file.ts';

/** Bytes of an integer. PyTorch's own magic number has 10. */
const maxIntegerBytes = 256;
/** Bytes of a line of text: a module, a name or a number. */
const maxLineBytes = 1024;

/** Reads opcodes and their arguments from a pickle, checking every length against the bytes there are. */
export class PickleReader {
  position: number;
  readonly #bytes: Buffer;
  readonly #fail: (code: RepVGGErrorCode, problem: string) => RepVGGError;

  constructor(bytes: Buffer, start: number, fail: (code: RepVGGErrorCode, problem: string) => RepVGGError) {
    this.#bytes = bytes;
    this.position = start;
    this.#fail = fail;
  }

  take(length: number): Buffer {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  unsigned(size: 1 | 2 | 4 | 8): number {
    const start = this.#advance(size);
    return size === 8 ? Number(this.#bytes.readBigUInt64LE(start)) : this.#bytes.readUIntLE(start, size);
  }

  /** Bytes preceded by their number, which takes `size` bytes itself. */
  counted(size: 1 | 4 | 8): Buffer {
    return this.take(this.unsigned(size));
  }

  /** A two's complement integer of any length, preceded by that length. */
  integer(size: 1 | 4): number | bigint {
    const bytes = this.counted(size);
    if (bytes.length > maxIntegerBytes) throw this.corrupt(`has an integer of ${bytes.length} bytes`);
    if (bytes.length === 0) return 0;
    const digits = Buffer.from(bytes).reverse().toString('hex');
    return narrow(BigInt.asIntN(8 * bytes.length, BigInt(`0x${digits}`)));
  }

  line(): string {
    const window = this.#bytes.subarray(this.position, this.position + maxLineBytes);
    const length = window.indexOf('\n');
    if (length >= 0) return this.take(length + 1).toString('utf8', 0, length);
    if (window.length === maxLineBytes) throw this.corrupt('has a line of text without an end');
    // One byte more than there are: the line is cut, and this says so.
    return this.take(window.length + 1).toString();
  }

  /** An integer as a line of text: protocol 1 writes booleans as 00 and 01, and long integers with a trailing L. */
  integerLine(): number | bigint | boolean {
    const text = this.line();
    if (text === '00' || text === '01') return text === '01';
    if (/^-?\d{1,600}L?$/.test(text)) return narrow(BigInt(text.replace('L', '')));
    throw this.corrupt(`has ${printable(text)} where an integer should be`);
  }

  corrupt(problem: string): RepVGGError {
    return this.#fail('ERR_CHECKPOINT_CORRUPT', `its pickle ${problem}`);
  }

  /** Moves past bytes that must be there, and returns where they start. */
  #advance(length: number): number {
    const start = this.position;
    const left = this.#bytes.length - start;
    if (length > left) {
      const problem = `its pickle wants ${length} bytes at byte ${start}, where ${left} are left`;
      throw this.#fail('ERR_CHECKPOINT_TRUNCATED', problem);
    }
    this.position += length;
    return start;
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
