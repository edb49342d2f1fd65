import {inSlices} from './turns.ts';

/** Bits of float32: the smallest number whose half is normal, and what lies between the two formats' exponents. */
const [leastNormal, exponentGap] = [0x38800000, 0x38000000];

/** Rounds to IEEE 754 binary16, to the nearest and ties to even. What exceeds 65504 becomes infinite, as in PyTorch. */
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

/** Drops 13 bits of the fraction; a carry runs into the exponent as it should. */
function normal(magnitude: number): number {
  if (magnitude > 0x7f800000) return 0x7e00; // NaN
  const rounded = (magnitude - exponentGap + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
  return Math.min(rounded, 0x7c00);
}

/** In steps of 2^-24. */
function subnormal(value: number): number {
  const steps = value * 2 ** 24;
  const whole = Math.floor(steps);
  const rest = steps - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}
