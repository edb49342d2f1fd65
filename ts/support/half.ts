import {inSlices} from './turns.ts';

/** In the bits of a float32: the smallest value that is normal in binary16, and the difference of the exponent biases. */
const [leastNormal, exponentGap] = [0x38800000, 0x38000000];

/** Rounds to IEEE 754 binary16, to nearest and ties to even. Values that round beyond 65504 become infinite, as in PyTorch. */
export async function toHalf(values: Float32Array): Promise<Uint16Array> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  await inSlices(values.length, (first, end) => {
    for (let i = first; i < end; i++) {
      const sign = (bits[i]! >>> 16) & 0x8000;
      const magnitude = bits[i]! & 0x7fffffff;
      halves[i] = sign | (magnitude < leastNormal ? subnormal(Math.abs(values[i]!)) : normal(magnitude));
    }
  });
  return halves;
}

/** Drops 13 bits of the fraction; a carry correctly increments the exponent. */
function normal(magnitude: number): number {
  if (magnitude > 0x7f800000) return 0x7e00; // NaN
  const rounded = (magnitude - exponentGap + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
  return Math.min(rounded, 0x7c00);
}

/** Counts steps of 2^-24, the least subnormal. */
function subnormal(value: number): number {
  const steps = value * 2 ** 24;
  const whole = Math.floor(steps);
  const rest = steps - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}
