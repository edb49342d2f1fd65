import {type FusionKernels, fuseRows} from './fuse_rows.ts';
import {native} from './native.ts';

/**
 * Fuses by the addon, bit for bit as ts/fuse_rows.ts does it, in memory that is used again and again: the system clears
 * what it gives for the first time, which takes longer than fusing.
 */
export class NativeFusion implements FusionKernels {
  /** Those that wait for the next kernels, from the smallest to the largest. */
  readonly #spare: ArrayBuffer[] = [];
  readonly #lent = new Set<unknown>();

  /** Its content is what was left there. */
  allocate(length: number): Float32Array {
    const bytes = 4 * length;
    const fitting = this.#spare.findIndex(({byteLength}) => byteLength >= bytes);
    // Blocks grow towards the end of a network, so what is too small now stays so.
    if (fitting < 0) this.close();
    const buffer = fitting < 0 ? new ArrayBuffer(bytes) : this.#spare.splice(fitting, 1)[0]!;
    this.#lent.add(buffer);
    return new Float32Array(buffer, 0, length);
  }

  fuseRows: FusionKernels['fuseRows'] = (target, dense, pointwise, factors, first, width) => {
    if (dense instanceof Float32Array && pointwise instanceof Float32Array)
      return native().fuseRows(target, dense, pointwise, factors, first, width);
    return fuseRows(target, dense, pointwise, factors, first, width);
  };

  /** Takes an array back, or frees it where it is another's. Nobody may use it from now on. */
  release(array: Float32Array): void {
    if (!this.#lent.delete(array.buffer)) {
      native().release(array);
      return;
    }
    this.#spare.push(array.buffer as ArrayBuffer);
    this.#spare.sort((a, b) => a.byteLength - b.byteLength);
  }

  /** Frees what waits. Garbage is collected late where it is large. */
  close(): void {
    for (const buffer of this.#spare.splice(0)) native().release(new Float32Array(buffer));
  }
}
