import type {RepVGGError} from '../errors.ts';
import {formatCount} from '../support/plain_text.ts';
import {ByteWindow} from './byte_window.ts';
import type {CheckpointFile} from './file.ts';

/** A field of a message: an integer, a fixed-size value, or a range of bytes that is a message, a text or packed numbers. */
export type ProtobufField =
  | {number: number; kind: 'integer'; value: bigint}
  | {number: number; kind: 'fixed'; bytes: Buffer}
  | ProtobufBytes;

export interface ProtobufBytes {
  number: number;
  kind: 'bytes';
  start: number;
  end: number;
}

const varintBytes = 10;
/** Fields of a file: a train-form D2se has some 20,000 in ONNX. A hostile file could have one in every two bytes. */
const maxFields = 300_000;
const maxTextBytes = 1024;
/** Integers of one list, such as a shape. */
const maxIntegers = 64;

/** Reads protocol buffers (protobuf.dev/programming-guides/encoding) that consist mostly of weights. */
export class ProtobufReader {
  readonly file: CheckpointFile;
  readonly window: ByteWindow;
  #fields = 0;

  /** @param what name of the content, for errors */
  constructor(file: CheckpointFile, what: string) {
    this.file = file;
    this.window = new ByteWindow(file, what);
  }

  /**
   * Iterates over the fields of the message at the window's position. The content of byte fields is skipped, unless the
   * caller reads it during the iteration, for example with a nested call.
   *
   * @param end where the message ends
   * @param what name of the message, for errors
   * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_TRUNCATED, or ERR_CHECKPOINT_UNSUPPORTED for more fields
   *   than any network has
   */
  async *fields(end: number, what: string): AsyncGenerator<ProtobufField> {
    const {window} = this;
    while (window.position < end) {
      if (++this.#fields > maxFields) {
        const limit = formatCount(maxFields);
        const problem = `it has more than ${limit} fields, where a network has some ten thousand`;
        throw this.unsupported(problem);
      }
      // A tag and the integer or length after it.
      if (!window.holds(2 * varintBytes)) await window.fill(2 * varintBytes);
      const tag = this.#varint(end, what);
      const number = Number(tag >> 3n);
      const wireType = Number(tag & 7n);
      if (wireType === 0) {
        yield {number, kind: 'integer', value: this.#varint(end, what)};
        continue;
      }
      const length = wireType === 2 ? this.#varint(end, what) : {1: 8n, 5: 4n}[wireType];
      if (number === 0 || length === undefined)
        throw this.#malformed(what, `has a field of type ${wireType}, which there is not`);
      const start = window.position;
      if (length > BigInt(end - start)) {
        const problem = `has a field of ${length} bytes, where ${end - start} are left`;
        // If the outermost message is too short, the file is truncated.
        if (end < window.size) throw this.#malformed(what, problem);
        throw this.file.fail('ERR_CHECKPOINT_TRUNCATED', `${what} ${problem}`);
      }
      const next = start + Number(length);
      if (wireType === 2) {
        yield {number, kind: 'bytes', start, end: next};
      } else {
        await window.fill(Number(length));
        yield {number, kind: 'fixed', bytes: window.peek(Number(length))};
      }
      window.position = next;
    }
  }

  /** The submessages of a message with this field number. */
  async *messages(end: number, number: number, what: string): AsyncGenerator<ProtobufBytes> {
    for await (const field of this.fields(end, what)) {
      if (field.number === number && field.kind === 'bytes') yield field;
    }
  }

  /** Reads a string field. */
  async text(field: ProtobufBytes, mostBytes: number = maxTextBytes): Promise<string> {
    const length = field.end - field.start;
    if (length > mostBytes) throw this.corrupt(`it has a name of ${length} bytes`);
    await this.window.fill(length);
    return this.window.peek(length).toString('utf8');
  }

  /**
   * Appends the integers of a repeated field, packed or not, to a list.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT for a list of more than 64
   */
  async integers(field: ProtobufField, list: number[]): Promise<void> {
    if (field.kind === 'integer') list.push(signed(field.value));
    if (field.kind === 'bytes') {
      const {window} = this;
      await window.fill(Math.min(field.end - field.start, varintBytes * maxIntegers));
      while (window.position < field.end && list.length <= maxIntegers)
        list.push(signed(this.#varint(field.end, 'a list of numbers')));
    }
    if (list.length > maxIntegers) throw this.corrupt(`it has a list of more than ${maxIntegers} numbers`);
  }

  corrupt(problem: string): RepVGGError {
    return this.file.fail('ERR_CHECKPOINT_CORRUPT', problem);
  }

  unsupported(problem: string): RepVGGError {
    return this.file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  #varint(end: number, what: string): bigint {
    const {window} = this;
    const bytes = window.peek(Math.min(varintBytes, end - window.position));
    let value = 0n;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      const part = BigInt(byte & 0x7f);
      value = i === 0 ? part : value | (part << BigInt(7 * i));
      if (byte >= 0x80) continue;
      window.position += i + 1;
      return BigInt.asUintN(64, value);
    }
    throw this.#malformed(what, 'has a number without an end');
  }

  #malformed(what: string, problem: string): RepVGGError {
    return this.file.fail('ERR_CHECKPOINT_CORRUPT', `${what} at byte ${this.window.position} ${problem}`);
  }
}

/** Reinterprets an unsigned varint as int64. */
export function signed(value: bigint): number {
  return Number(BigInt.asIntN(64, value));
}
