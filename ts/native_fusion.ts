import {raiseOnAbort} from './cancellation.ts';
import type {TensorInfo} from './checkpoint/checkpoint.ts';
import type {FileRange} from './checkpoint/file.ts';
import {countElements} from './checkpoint/shape.ts';
import {type FusedKernels, type FusionKernels, fuseInTurns, fuseRows} from './fuse_rows.ts';
import type {BlockFactors} from './fusion.ts';
import {type NativeFileRange, type NativeKernelSink, type NativeNetwork, native} from './native.ts';

/** Numbers that a thread reads and fuses at a time: the largest kernels have 18 million. */
const partLength = 2 ** 20;

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

  /** The network that kernels are for, where it can take them while they are fused. */
  target: NativeNetwork | null = null;

  /** Where the file has the kernels as they are in memory, they are fused where and while they are read. */
  async fuse(
    index: number,
    dense: TensorInfo,
    pointwise: TensorInfo,
    factors: BlockFactors,
    signal?: AbortSignal | undefined,
  ): Promise<FusedKernels> {
    const sink = this.target?.makeSink(index);
    if (sink && (await fuseFile(sink, dense, pointwise, factors, signal)))
      return {weight: new Float32Array(), finite: true};
    // Numbers that are not finite are looked for in an array.
    signal?.throwIfAborted();
    const weight = this.allocate(9 * countElements(pointwise.shape));
    const finite = await fuseFile(weight, dense, pointwise, factors, signal);
    signal?.throwIfAborted();
    if (finite !== null) return {weight, finite};
    const points = await pointwise.read();
    const rows = this.fuseRows;
    return {weight, finite: await fuseInTurns(weight, await dense.read(), points, factors, {rows, signal})};
  }

  /** Its content is what was left there. */
  allocate(length: number): Float32Array {
    const bytes = 4 * length;
    if (bytes > this.#largest) {
      this.close();
      this.#largest = bytes;
    }
    const buffer = this.#spare.pop() ?? newBuffer(bytes);
    this.#lent.add(buffer);
    return new Float32Array(buffer, 0, length);
  }

  fuseRows: typeof fuseRows = (target, dense, pointwise, factors, first, width) => {
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

/**
 * Whether all numbers are finite; null where this is for others to do: the values are not in a file as they are in memory,
 * or something is wrong with it, and they will say what.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT for a wrong checksum
 */
async function fuseFile(
  target: Float32Array | NativeKernelSink,
  dense: TensorInfo,
  pointwise: TensorInfo,
  factors: BlockFactors,
  signal: AbortSignal | undefined,
): Promise<boolean | null> {
  const points = await pointwise.locate?.();
  const kernels = await dense.locate?.();
  const {fuseFile, crc32, joinCrc32} = native();
  if (!points || !kernels || ((points.verify || kernels.verify) && !crc32)) return null;
  signal?.throwIfAborted();
  const cancel = new Uint8Array(1);
  const forget = signal && raiseOnAbort(signal, cancel);
  const channels = factors.dense.length;
  const width = countElements(pointwise.shape) / channels;
  const together = Math.max(16, Math.floor(partLength / (9 * 16 * width)) * 16);
  const parts = Array.from({length: Math.ceil(channels / together)}, (_, i) => {
    const first = i * together;
    const count = Math.min(together, channels - first);
    const part = target instanceof Float32Array ? target.subarray(9 * width * first) : target;
    return lend(kernels, 36 * width * first, dense =>
      lend(points, 4 * width * first, pointwise =>
        fuseFile(part, dense, pointwise, factors, first, count, width, cancel),
      ),
    );
  });
  let [finite, denseCrc32, pointwiseCrc32] = [true, 0, 0];
  try {
    for (const [i, part] of (await Promise.all(parts)).entries()) {
      if (!part) return null;
      const rows = Math.min(together, channels - i * together);
      finite &&= part.finite;
      denseCrc32 = joinCrc32(denseCrc32, part.denseCrc32, 36 * width * rows);
      pointwiseCrc32 = joinCrc32(pointwiseCrc32, part.pointwiseCrc32, 4 * width * rows);
    }
  } finally {
    forget?.();
  }
  points.verify?.(pointwiseCrc32);
  kernels.verify?.(denseCrc32);
  return finite;
}

function lend<Result>(
  {file, position, verify}: FileRange,
  offset: number,
  work: (range: NativeFileRange) => Promise<Result>,
): Promise<Result | null> {
  return file.lend(descriptor =>
    work({descriptor, position: position + offset, checksum: verify !== undefined}),
  );
}

function newBuffer(bytes: number): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes);
  native().preferHugePages(new Uint8Array(buffer));
  return buffer;
}
