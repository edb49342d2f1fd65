import type {BlockShape} from '../architecture.ts';
import {RepVGGError} from '../errors.ts';
import type {DeployBlock, Form, LinearParameters, SqueezeExciteParameters} from '../network.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {loadAddon} from './load_addon.ts';

// The typed interface of the addon (binding/). It is called by ts/ only, which validates the arguments.

export type NativeBlockShape = Omit<BlockShape, 'index' | 'stage' | 'position'>;

export interface NativeNetworkShape {
  form: Form;
  squeezeExcite: 'before-relu' | 'after-relu' | null;
  blocks: NativeBlockShape[];
  numClasses: number;
  /** Size of the input images in pixels. */
  height: number;
  width: number;
  mean: Preprocessing['mean'];
  std: Preprocessing['std'];
  /** For fp8: the largest value of each channel of each block's output, block after block. */
  ranges?: Float32Array;
}

export interface NativeBatchNorm {
  gamma: Float32Array;
  beta: Float32Array;
  mean: Float32Array;
  variance: Float32Array;
  eps: number;
}

/** Receives the kernels of one block of a network from `fuseFile`. Unusable once the network is disposed. */
export interface NativeKernelSink {
  readonly isKernelSink: never;
}

/** `weight` is empty if the kernels were written to a sink. */
export type NativeDeployBlock = Pick<DeployBlock, 'weight' | 'bias' | 'squeezeExcite'>;

export interface NativeTrainBranch {
  weight: Float32Array;
  bias: Float32Array | null;
  batchNorm: NativeBatchNorm;
}

export interface NativeTrainBlock {
  dense: NativeTrainBranch;
  pointwise: NativeTrainBranch;
  identity: NativeBatchNorm | null;
  squeezeExcite: SqueezeExciteParameters | null;
}

export type NativeBlock = NativeDeployBlock | NativeTrainBlock;

/** `count` RGB images of the network's input size back to back: [count][height][width][3]. */
export interface NativeBatch {
  pixels: Uint8Array;
  count: number;
}

export interface NativeTopK {
  /** [count][k] */
  indices: Int32Array;
  /** [count][k], softmax probabilities */
  scores: Float32Array;
}

export type NativeOutput = 'logits' | 'embedding' | 'ranges';

/** Arrays passed in must not be modified until the promise settles. `cancel[0] = 1` aborts a run. */
export interface NativeNetwork {
  setBlock(index: number, block: NativeBlock): Promise<void>;
  /** A sink for the kernels of a deploy-form block; null if the backend needs all of them at once. */
  makeSink(index: number): NativeKernelSink | null;
  setLinear(linear: LinearParameters): Promise<void>;
  /** 'ranges' (CPU and fp32 only) returns {@link NativeNetworkShape.ranges} of the batch. */
  run(batch: NativeBatch, output: NativeOutput, cancel: Uint8Array): Promise<Float32Array>;
  runTopK(batch: NativeBatch, k: number, cancel: Uint8Array): Promise<NativeTopK>;
  /** Images per second of the network alone: runs the batch repeatedly, with pixels and results staying on the device. */
  measureRate(batch: NativeBatch, seconds: number, cancel: Uint8Array): Promise<number>;
  /** How the network runs: JSON of a {@link NetworkDescription}. */
  describe(): Promise<string>;
  dispose(): Promise<void>;
}

/** How a block runs, from a network's `describe`. */
export interface LayerDescription {
  /** "direct", or "f2", "f4x2" or "f4" (Winograd); on a GPU with the tile, and "stem" or "fused" for the first layer. */
  algorithm: string;
  /**
   * How it was chosen: "measured" when the network was loaded, "cached" from an earlier measurement, "estimated", "pinned",
   * or "only" if there is no alternative.
   */
  source: 'measured' | 'cached' | 'estimated' | 'pinned' | 'only';
  /** Measured time of each algorithm for one run of the block with a batch. */
  microseconds: Record<string, number>;
  /** On the CPU: average time of the block per image over the runs so far; null before the first. */
  imageMicroseconds?: number | null;
}

export interface NetworkDescription {
  /** Images per batch. */
  batchSize: number;
  layers: LayerDescription[];
}

/** Winograd's algorithms that compete with direct convolution; `LoadOptions.winograd` has the rule. */
export type Winograd = 'auto' | 'off' | 'f2' | 'f4';
export const winogradClasses: readonly Winograd[] = ['auto', 'off', 'f2', 'f4'];

export interface NativeNetworkOptions {
  /** "cpu", "cuda" or "cuda:N". */
  backend: string;
  /** On the CPU, "fp8" is simulated. */
  precision: 'fp32' | 'tf32' | 'fp16' | 'bf16' | 'fp8';
  /** The usual number of images in a run, for which algorithms are chosen. Runs may have any number. */
  batchSize: number;
  threads?: number;
  instructionSet?: string;
  /** Pins an algorithm for all blocks that support it, whatever `winograd` allows; by default the fastest allowed is used. */
  algorithm?: 'direct' | 'f2' | 'f4x2' | 'f4' | 'fused';
  /** By default "auto". */
  winograd?: Winograd;
}

export type NativeGeometry = Pick<Preprocessing, 'resize' | 'crop' | 'interpolation'> &
  Partial<Pick<Preprocessing, 'squash'>>;

export interface NativeCudaInfo {
  built: boolean;
  /** `problem` is why the kernels of this build cannot run on it, or null. */
  devices: {name: string; computeCapability: string; memoryBytes: number; problem: string | null}[];
  runtimeVersion: number;
  driverVersion: number;
  error: string | null;
}

/** Measured peak rates of a device; a multiply-add counts as two operations. For the CPU, sums over all threads. */
export interface NativeLimits {
  /** The instruction set of `fmaGflops`; for a GPU its architecture and the instruction of `matrixGflops`, "sm_90, wgmma". */
  instructionSet: string;
  /** fp32 multiply-adds between registers. */
  fmaGflops: number;
  /** bf16 products by AMX, else by AVX-512, or on a GPU products in the requested precision; null if there are none. */
  matrixGflops: number | null;
  /** The same as `fmaGflops` per thread and second of CPU time, on average; null for a GPU. */
  fmaPerCpuSecond: number | null;
  matrixPerCpuSecond: number | null;
  /** Copying large buffers, in 1e9 bytes read and written per second; 0 if not requested. */
  copyGBps: number;
  /** Reading the same 16 MB repeatedly, on a GPU, if the copy is requested; else null. */
  l2GBps: number | null;
}

/** The position of a tensor's values in an open file. */
export interface NativeFileRange {
  descriptor: number;
  position: number;
  /** Whether to compute their checksum. */
  checksum: boolean;
}

export interface NativeAddon {
  /**
   * `bf16` is the instruction set for bf16, "amx" or "avx512bf16", or null; `jpeg` is the library that decodes JPEGs, or
   * null.
   */
  cpuInfo(): {instructionSets: string[]; bf16: string | null; usableCores: number; jpeg: string | null};
  cudaInfo(): NativeCudaInfo;
  /** Writes [crop][crop][3] bytes into `out` at `offset`. `pixels` is [height][width][3]. */
  resizeCrop(
    pixels: Uint8Array,
    width: number,
    height: number,
    geometry: NativeGeometry,
    out: Uint8Array,
    offset: number,
  ): Promise<void>;
  /**
   * Decodes a JPEG, then does the same. Resolves to false if another decoder has to be used: the image is not a JPEG, cannot be
   * read, has more than `mostBytes`, is CMYK, damaged, over 268 megapixels or, with `orient`, stored rotated. Bytes are copied before the call returns.
   */
  prepareJpeg(
    source: string | Uint8Array,
    orient: boolean,
    geometry: NativeGeometry,
    out: Uint8Array,
    offset: number,
    mostBytes: number,
  ): Promise<boolean>;
  /** Decodes without resizing; resolves to null instead of false. */
  decodeJpeg(
    source: string | Uint8Array,
    orient: boolean,
    mostBytes: number,
  ): Promise<{data: Uint8Array; width: number; height: number} | null>;
  /** Runs each loop for `seconds`. The copy needs 256 MiB, on a GPU 512. `threads` applies to the CPU. */
  measureLimits(options: {
    device: string;
    precision: NativeNetworkOptions['precision'];
    threads: number;
    seconds: number;
    copy: boolean;
  }): Promise<NativeLimits>;
  /** Memory in use on a GPU, by all processes, and the energy it has consumed so far; null if not reported. */
  cudaCounters(index: number): {memoryBytes: number | null; millijoules: number | null};
  /**
   * Starts counting the user-space instructions of all threads of this process. Returns a function that stops counting and
   * returns the number, to be called once; or a reason, if the processor or the system provides no such counter, as in most
   * containers and virtual machines.
   */
  countInstructions(): (() => number) | string;
  /**
   * Locks an open file until it is closed or the process ends. Returns false if it is locked already, also by this process;
   * true on a file system without locks.
   */
  lockFile(descriptor: number): boolean;
  /** `fuseRows` of fuse_rows.ts, bit for bit. */
  fuseRows(
    target: Float32Array,
    dense: Float32Array,
    pointwise: Float32Array,
    factors: {dense: Float64Array; pointwise: Float64Array; identity: Float64Array | null},
    first: number,
    width: number,
  ): boolean;
  /**
   * Reads the kernels of `count` output channels from `first` on and fuses them as `fuseRows` does, into an array or a sink. The
   * ranges are those of these channels only. Checksums are CRC-32 of the bytes in the file, or 0 if not requested. Resolves to
   * null if not all bytes can be read, or once `cancel[0]` is 1.
   * Files must stay open, and arrays must not be modified, until the promise settles.
   */
  fuseFile(
    target: Float32Array | NativeKernelSink,
    dense: NativeFileRange,
    pointwise: NativeFileRange,
    factors: {dense: Float64Array; pointwise: Float64Array; identity: Float64Array | null},
    first: number,
    count: number,
    width: number,
    cancel: Uint8Array,
  ): Promise<{finite: boolean; denseCrc32: number; pointwiseCrc32: number} | null>;
  /** Whether all numbers are finite. */
  allFinite(values: Float32Array): boolean;
  /** Continues the CRC-32 `before` over more bytes; null if the processor has no instructions to accelerate it. */
  crc32: ((bytes: Uint8Array, before: number) => number) | null;
  /** The CRC-32 of two concatenated ranges, from that of each and the length `count` of the second. */
  joinCrc32(before: number, behind: number, count: number): number;
  /** Asks the system for 2 MB pages for an array that has not been written to. */
  preferHugePages(array: Uint8Array): void;
  /** Frees an array's memory at once, leaving its length 0; the garbage collector is slow to free large arrays. */
  release(array: Float32Array): void;
  Network: new (shape: NativeNetworkShape, options: NativeNetworkOptions) => NativeNetwork;
}

let loaded: NativeAddon | undefined;

/**
 * The native addon, loaded on the first call so that `repvgg doctor` can run where loading fails.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export function native(): NativeAddon {
  loaded ??= loadAddon() as NativeAddon;
  return loaded;
}

/** The addon if it is loaded already, for work that has a fallback in TypeScript. */
export function loadedAddon(): NativeAddon | undefined {
  return loaded;
}

/** Converts a coded error of the addon into a {@link RepVGGError} whose stack trace includes the caller. */
export function fromNative(error: unknown): unknown {
  const {code, message} = error as {code?: RepVGGError['code']; message: string};
  return code?.startsWith('ERR_') && !(error instanceof RepVGGError)
    ? new RepVGGError(code, message, {cause: error})
    : error;
}
