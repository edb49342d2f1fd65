import type {TensorInfo} from '../checkpoint/checkpoint.ts';
import type {FileRange} from '../checkpoint/file.ts';
import type {FusedKernels, KernelFusion} from '../checkpoint/kernel_fusion.ts';
import {countElements} from '../checkpoint/shape.ts';
import {fuseInTurns, fuseRows} from '../fusion/fuse_rows.ts';
import type {BlockFactors} from '../fusion/fusion.ts';
import {type NativeFileRange, type NativeKernelSink, type NativeNetwork, native} from '../native/addon.ts';
import {raiseOnAbort} from '../support/cancellation.ts';
import {allOrCancel} from '../support/promises.ts';

/** Numbers that one task of the addon reads and fuses; the largest kernels have 18 million. */
const partLength = 2 ** 20;

/**
 * Fusion by the addon, bit for bit as in fuse_rows.ts. Buffers are pooled: the system zeroes pages when they are first
 * touched, which takes longer than fusing.
 */
export class NativeFusion implements KernelFusion {
  /** Free buffers, each at least as large as the largest block so far. */
  readonly #spare: ArrayBuffer[] = [];
  readonly #lent = new Set<unknown>();
  /** Bytes of the largest buffer allocated so far. */
  #largest = 0;

  /** The network to fuse into directly, where its backend supports that. */
  target: NativeNetwork | null = null;

  /** Reads and fuses in the addon if the file stores the kernels as float32 in host byte order, else in TypeScript. */
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
    // Errors are located in an array, so a block with values that are not finite is fused again, into one.
    signal?.throwIfAborted();
    const weight = this.allocate(9 * countElements(pointwise.shape));
    const finite = await fuseFile(weight, dense, pointwise, factors, signal);
    signal?.throwIfAborted();
    if (finite !== null) return {weight, finite};
    const points = await pointwise.read();
    const rows = this.fuseRows;
    return {weight, finite: await fuseInTurns(weight, await dense.read(), points, factors, {rows, signal})};
  }

  /** Returns an uninitialised array. */
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

  /** Returns a buffer to the pool, or frees it if it is not from the pool or too small. The array must not be used again. */
  release(array: Float32Array): void {
    const isOwn = this.#lent.delete(array.buffer);
    // Blocks grow towards the end of a network, so a buffer too small for this one is too small for the rest.
    if (isOwn && array.buffer.byteLength >= this.#largest) this.#spare.push(array.buffer as ArrayBuffer);
    else native().release(array);
  }

  /** Frees the pool at once; the garbage collector is slow to free large buffers. */
  close(): void {
    for (const buffer of this.#spare.splice(0)) native().release(new Float32Array(buffer));
  }
}

/**
 * Fuses kernels straight from their files, in parallel parts. Returns whether all numbers are finite, or null if the
 * caller has to read the tensors instead: they are not stored as float32 in host byte order, or could not be read, which
 * reading them reports.
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
  const {fuseFile, joinCrc32} = native();
  if (!points || !kernels) return null;
  signal?.throwIfAborted();
  const channels = factors.dense.length;
  const width = countElements(pointwise.shape) / channels;
  const together = Math.max(16, Math.floor(partLength / (9 * 16 * width)) * 16);
  const cancel = new Uint8Array(1);
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
  const forget = signal && raiseOnAbort(signal, cancel);
  let [finite, denseCrc32, pointwiseCrc32] = [true, 0, 0];
  try {
    for (const [i, part] of (await allOrCancel(parts, cancel)).entries()) {
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
