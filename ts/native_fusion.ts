import {type FusionKernels, fuseRows} from './fuse_rows.ts';
import {native} from './native.ts';

/**
 * Fuses by the addon, bit for bit as ts/fuse_rows.ts does it, in memory that is used again and again: the system clears
 * what it gives for the first time, which takes longer than fusing.
 */
export class NativeFusion implements FusionKernels {
  /** Those that wait for the next kernels, each as large as the largest so far. */
  readonly #spare: ArrayBuffer[] = [];
  readonly #lent = new Set<unknown>();
  /** In bytes, of all there were. */
  #largest = 0;

  /** Its content is what was left there. */
  allocate(length: number): Float32Array {
    const bytes = 4 * length;
    if (bytes > this.#largest) {
      this.close();
      this.#largest = bytes;
    }
    const buffer = this.#spare.pop() ?? new ArrayBuffer(bytes);
    this.#lent.add(buffer);
    return new Float32Array(buffer, 0, length);
  }

  fuseRows: FusionKernels['fuseRows'] = (target, dense, pointwise, factors, first, width) => {
    if (dense instanceof Float32Array && pointwise instanceof Float32Array)
      return native().fuseRows(target, dense, pointwise, factors, first, width);
    return fuseRows(target, dense, pointwise, factors, first, width);
  };

  /** Takes an array back, or frees it where it is another's or too small. Nobody may use it from now on. */
  release(array: Float32Array): void {
    const isOwn = this.#lent.delete(array.buffer);
    // Blocks grow towards the end of a network: what is too small for one is so for those behind it.
    if (isOwn && array.buffer.byteLength >= this.#largest) this.#spare.push(array.buffer as ArrayBuffer);
    else native().release(array);
  }

  /** Frees what waits. Garbage is collected late where it is large. */
  close(): void {
    for (const buffer of this.#spare.splice(0)) native().release(new Float32Array(buffer));
  }
}
