import type {ParquetParsers, SchemaElement} from 'hyparquet';

/** Parsers for hyparquet that return times finer than milliseconds as text, since a Date cannot hold them. */
export const parsers: Partial<ParquetParsers> = {
  timestampFromMicroseconds: time => fineTime(time, 6),
  timestampFromNanoseconds: time => fineTime(time, 9),
};

/** ISO 8601 with `digits` decimal places of seconds. */
function fineTime(time: bigint, digits: number): unknown {
  const unit = 10n ** BigInt(digits - 3);
  const rest = ((time % unit) + unit) % unit;
  const milliseconds = new Date(Number((time - rest) / unit)).toJSON() as string | null; // null outside the range of Date.
  return milliseconds?.replace('Z', `${String(rest).padStart(digits - 3, '0')}Z`) ?? String(time);
}

/** Decimals with more digits become text, since a double may not hold them exactly. */
const mostDigits = 15;

/**
 * Makes hyparquet return decimals as stored integers, since it would scale them in floating point, and returns a converter per column.
 *
 * @param columns top-level columns; their type annotations are removed
 */
export function takeDecimals(columns: Iterable<SchemaElement>): Map<string, (cell: unknown) => unknown> {
  const decimals = new Map<string, (cell: unknown) => unknown>();
  for (const element of columns) {
    const {name, converted_type, logical_type, precision = 0, scale = 0} = element;
    if (converted_type !== 'DECIMAL' && logical_type?.type !== 'DECIMAL') continue;
    delete element.converted_type;
    delete element.logical_type;
    decimals.set(name, cell => {
      if (cell === null || cell === undefined) return cell;
      const text = decimalText(toBigInt(cell), scale);
      return precision > mostDigits ? text : Number(text);
    });
  }
  return decimals;
}

/** Big-endian two's complement. */
function toBigInt(stored: unknown): bigint {
  if (!(stored instanceof Uint8Array)) return BigInt(stored as number | bigint);
  return BigInt.asIntN(8 * stored.length, BigInt(`0x0${Buffer.from(stored).toString('hex')}`));
}

function decimalText(unscaled: bigint, scale: number): string {
  const sign = unscaled < 0n ? '-' : '';
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  return `${sign}${digits.slice(0, digits.length - scale)}${scale > 0 ? `.${digits.slice(-scale)}` : ''}`;
}
