import type {Column} from './columns.ts';

/** A field of a FlatBuffers table: a number of `bytes` bytes, or something stored at an offset. An absent field has its type's default. */
type Slot = Scalar | string | Table | {tables: readonly Table[]} | undefined;
type Scalar = {bytes: 1 | 2 | 4; value: number};
type Table = readonly Slot[];

/** Constants of Arrow's Message.fbs and Schema.fbs. */
const metadataVersion5 = 4;
const littleEndian = 0;
const schemaHeader = 1;
const type = {floatingPoint: 3, utf8: 5, fixedSizeList: 16};
const precision = {single: 1, double: 2};

const byte = (value: number): Slot => ({bytes: 1, value});
const short = (value: number): Slot => ({bytes: 2, value});

/**
 * The value of "ARROW:schema" in the metadata of a Parquet file with vectors: an Arrow IPC schema message in base64. Parquet has no
 * fixed-size lists; Arrow readers restore them from this schema.
 */
export function arrowSchema(columns: readonly Column[]): string {
  const fields = columns.map(column => {
    const {name, kind} = column;
    if (kind === 'vector') {
      const element = field('element', false, type.floatingPoint, [short(precision.single)]);
      return field(name, false, type.fixedSizeList, [{bytes: 4, value: column.length}], [element]);
    }
    if (kind === 'number') return field(name, true, type.floatingPoint, [short(precision.double)]);
    return field(name, name !== 'id', type.utf8, []); // Rows with vectors have no predictions.
  });
  const schema: Table = [short(littleEndian), {tables: fields}];
  const message = flatBuffer([short(metadataVersion5), byte(schemaHeader), schema]);
  const start = Buffer.alloc(8); // An encapsulated message starts with a continuation marker and its length.
  start.writeUInt32LE(0xffffffff);
  start.writeUInt32LE(message.length, 4);
  return Buffer.concat([start, message]).toString('base64');
}

function field(
  name: string,
  nullable: boolean,
  kind: number,
  of: Table,
  children: readonly Table[] = [],
): Table {
  return [name, byte(nullable ? 1 : 0), byte(kind), of, undefined, {tables: children}];
}

/** Serialises a table as a FlatBuffer (https://flatbuffers.dev/internals), parents before children, padded to 8 bytes. */
function flatBuffer(root: Table): Buffer {
  let buffer = Buffer.alloc(1024);
  let end = 0;
  /** Reserves `count` zero bytes at a multiple of `alignment` and returns their offset. */
  const take = (count: number, alignment: number): number => {
    const start = Math.ceil(end / alignment) * alignment;
    end = start + count;
    if (end > buffer.length) buffer = Buffer.concat([buffer, Buffer.alloc(end)]);
    return start;
  };
  const link = (from: number, to: number): void => {
    buffer.writeUInt32LE(to - from, from);
  };
  const writeText = (text: string): number => {
    const bytes = Buffer.from(`${text}\0`);
    const start = take(4 + bytes.length, 4);
    buffer.writeUInt32LE(bytes.length - 1, start);
    bytes.copy(buffer, start + 4);
    return start;
  };
  const writeTables = (tables: readonly Table[]): number => {
    const start = take(4 + 4 * tables.length, 4);
    buffer.writeUInt32LE(tables.length, start);
    for (const [i, table] of tables.entries()) link(start + 4 + 4 * i, writeTable(table));
    return start;
  };
  const writeTable = (slots: Table): number => {
    const vtable = take(4 + 2 * slots.length, 2);
    const start = take(4, 8);
    buffer.writeInt32LE(start - vtable, start);
    const places = slots.map(slot => {
      if (slot === undefined) return 0;
      const bytes = isScalar(slot) ? slot.bytes : 4;
      return take(bytes, bytes) - start;
    });
    for (const [i, place] of [4 + 2 * slots.length, end - start, ...places].entries())
      buffer.writeUInt16LE(place, vtable + 2 * i);
    for (const [i, slot] of slots.entries()) {
      const at = start + places[i]!;
      if (slot === undefined) continue;
      if (isScalar(slot)) buffer.writeUIntLE(slot.value, at, slot.bytes);
      else if (typeof slot === 'string') link(at, writeText(slot));
      else link(at, 'tables' in slot ? writeTables(slot.tables) : writeTable(slot));
    }
    return start;
  };
  link(take(4, 4), writeTable(root));
  return buffer.subarray(0, take(0, 8));
}

function isScalar(slot: Slot): slot is Scalar {
  return typeof slot === 'object' && 'bytes' in slot;
}
