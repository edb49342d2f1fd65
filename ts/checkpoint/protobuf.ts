import type {RepVGGError, RepVGGErrorCode} from '../errors.ts';
import type {ByteWindow} from './byte_window.ts';

/** A field of a message, by its number: an integer, or a range of bytes that is a message, a text or packed numbers. */
export type ProtobufField =
  | {number: number; kind: 'integer'; value: bigint}
  | {number: number; kind: 'fixed'; bytes: Buffer}
  | {number: number; kind: 'bytes'; start: number; end: number};

const varintBytes = 10;

/**
 * Walks over the fields of one message of protocol buffers (protobuf.dev/programming-guides/encoding) without reading
 * the content of those that are bytes: they are stepped over, unless the caller walks them with another call, or moves.
 *
 * @param window stands where the message begins; @param end is where it ends
 * @param what names the message in errors
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT, or ERR_CHECKPOINT_TRUNCATED when the file ends first
 */
export async function* protobufFields(
  window: ByteWindow,
  end: number,
  what: string,
  fail: (code: RepVGGErrorCode, problem: string) => RepVGGError,
): AsyncGenerator<ProtobufField> {
  const corrupt = (problem: string): RepVGGError =>
    fail('ERR_CHECKPOINT_CORRUPT', `${what} at byte ${window.position} ${problem}`);

  function varint(): bigint {
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
    throw corrupt('has a number without an end');
  }

  while (window.position < end) {
    // A tag, and the number or the length behind it.
    if (!window.holds(2 * varintBytes)) await window.fill(2 * varintBytes);
    const tag = varint();
    const number = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    if (wireType === 0) {
      yield {number, kind: 'integer', value: varint()};
      continue;
    }
    const length = wireType === 2 ? varint() : {1: 8n, 5: 4n}[wireType];
    if (number === 0 || length === undefined)
      throw corrupt(`has a field of type ${wireType}, which there is not`);
    const start = window.position;
    if (length > BigInt(end - start)) {
      const problem = `has a field of ${length} bytes, where ${end - start} are left`;
      // Of the outermost message it is the file that ends.
      if (end < window.size) throw corrupt(problem);
      throw fail('ERR_CHECKPOINT_TRUNCATED', `${what} ${problem}, so download or copy it again`);
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
