import {RepVGGError} from './errors.ts';
import {loadAddon} from './load_addon.ts';

// The typed surface of the addon (binding/). Nothing but ts/ calls it: arguments arrive checked.

export interface NativeBlockShape {
  inChannels: number;
  outChannels: number;
  stride: number;
  groups: number;
  identity: boolean;
  squeezeChannels: number;
}

export interface NativeNetworkShape {
  form: 'deploy' | 'train';
  squeezeExcite: 'before-relu' | 'after-relu' | null;
  blocks: NativeBlockShape[];
  numClasses: number;
  /** Of every input image, in pixels. */
  height: number;
  width: number;
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
  /** Of fp8: the largest value of each channel of each block's output, block after block. */
  ranges?: Float32Array;
}

export interface NativeSqueezeExcite {
  downWeight: Float32Array;
  downBias: Float32Array;
  upWeight: Float32Array;
  upBias: Float32Array;
}

export interface NativeBatchNorm {
  gamma: Float32Array;
  beta: Float32Array;
  mean: Float32Array;
  variance: Float32Array;
  eps: number;
}

/** Of one block and its network, which has what `fuseFile` puts there; of no use once that is disposed of. */
export interface NativeKernelSink {
  readonly isKernelSink: never;
}

export interface NativeDeployBlock {
  /** Empty where all kernels have been put in a sink. */
  weight: Float32Array;
  bias: Float32Array;
  squeezeExcite: NativeSqueezeExcite | null;
}

export interface NativeTrainBranch {
  weight: Float32Array;
  bias: Float32Array | null;
  batchNorm: NativeBatchNorm;
}

export interface NativeTrainBlock {
  dense: NativeTrainBranch;
  pointwise: NativeTrainBranch;
  identity: NativeBatchNorm | null;
  squeezeExcite: NativeSqueezeExcite | null;
}

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

/** Arrays that are handed over must not change until the promise settles. `cancel[0] = 1` ends a run early. */
export interface NativeNetwork {
  setBlock(index: number, block: NativeDeployBlock | NativeTrainBlock): Promise<void>;
  /** For the kernels of a block of the deploy form; null where the backend needs all of them at a time. */
  makeSink(index: number): NativeKernelSink | null;
  setLinear(linear: {weight: Float32Array; bias: Float32Array}): Promise<void>;
  /** 'ranges' (the CPU's fp32 only) gives {@link NativeNetworkShape.ranges} of the batch. */
  run(batch: NativeBatch, output: NativeOutput, cancel: Uint8Array): Promise<Float32Array>;
  runTopK(batch: NativeBatch, k: number, cancel: Uint8Array): Promise<NativeTopK>;
  /** Images per second of the network alone: runs the batch again and again, with pixels and results on the device. */
  measureRate(batch: NativeBatch, seconds: number, cancel: Uint8Array): Promise<number>;
  /** How the network runs: JSON of a {@link NetworkDescription}. */
  describe(): Promise<string>;
  dispose(): Promise<void>;
}

/** What a network's `describe` tells of each block. */
export interface LayerDescription {
  /** "direct", "f2", "f4x2" or "f4" (Winograd), with the tile on a GPU; "stem" or "fused" of the first layer there. */
  algorithm: string;
  /**
   * Where that comes from: "measured" when the network was loaded, "cached" from an earlier measurement, "estimated",
   * "pinned", or "only" where there is nothing to choose.
   */
  source: 'measured' | 'cached' | 'estimated' | 'pinned' | 'only';
  /** What was measured: of each algorithm, one run of the block with a batch. */
  microseconds: Record<string, number>;
  /** On the CPU: what the block took for an image, on average over the runs so far; null before the first. */
  imageMicroseconds?: number | null;
}

export interface NetworkDescription {
  /** Images that run together. */
  batchSize: number;
  layers: LayerDescription[];
}

/** Which of Winograd's algorithms a backend may choose. */
export type Winograd = 'auto' | 'off' | 'f2' | 'f4';
export const winogradClasses: readonly Winograd[] = ['auto', 'off', 'f2', 'f4'];

export interface NativeNetworkOptions {
  /** "cpu", "cuda" or "cuda:N". */
  backend: string;
  /** On the CPU, "fp8" is simulated. */
  precision: 'fp32' | 'tf32' | 'fp16' | 'bf16' | 'fp8';
  /** Images that a run will usually have: what is fastest depends on it, what is possible does not. */
  batchSize: number;
  threads?: number;
  instructionSet?: string;
  /** Wherever it can be used; by default the backend chooses for each block. */
  algorithm?: 'direct' | 'f2' | 'f4x2' | 'f4' | 'fused';
  /** What the backend may choose. */
  winograd?: Winograd;
}

export interface NativeGeometry {
  /** 0 leaves the size as it is. */
  resize: number;
  crop: number;
  interpolation: 'bilinear' | 'bicubic';
  /** Both sides are resized to `resize`. */
  squash?: boolean;
}

export interface NativeCudaInfo {
  built: boolean;
  /** `problem` is why the kernels of this build cannot run on it, or null. */
  devices: {name: string; computeCapability: string; memoryBytes: number; problem: string | null}[];
  runtimeVersion: number;
  driverVersion: number;
  error: string | null;
}

/** What a device can do at best, a multiply-add being two operations. Of the CPU, sums over the threads. */
export interface NativeLimits {
  /** Of `fmaGflops`; of a GPU its architecture and the instruction of `matrixGflops`, "sm_90, wgmma". */
  instructionSet: string;
  /** fp32 multiply-adds between registers. */
  fmaGflops: number;
  /** Products of matrix units: bf16 by AMX, or on a GPU in the precision asked for; null where there are none. */
  matrixGflops: number | null;
  /** The same of one thread on average, 1e9 for each second that it ran; null of a GPU. */
  fmaPerCpuSecond: number | null;
  matrixPerCpuSecond: number | null;
  /** Copying large buffers, 1e9 bytes read and written per second; 0 when not asked for. */
  copyGBps: number;
  /** Reading 16 MB again and again, on a GPU, when the copy is asked for; else null. */
  l2GBps: number | null;
}

/** The values of a tensor, as they lie in an open file. */
export interface NativeFileRange {
  descriptor: number;
  position: number;
  /** Whether their checksum is wanted. */
  checksum: boolean;
}

export interface NativeAddon {
  /**
   * `bf16` is the instructions that bf16 would use, "amx" or "avx512bf16", or null; `jpeg` the library that decodes JPEGs,
   * or null where there is none.
   */
  cpuInfo(): {instructionSets: string[]; bf16: string | null; threads: number; jpeg: string | null};
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
   * Decodes a JPEG and does the same with it. False where the image is for another decoder: it is no JPEG, cannot be read,
   * is CMYK, damaged, over 268 megapixels or, with `orient`, stored rotated. Bytes are copied before the call returns.
   */
  prepareJpeg(
    source: string | Uint8Array,
    orient: boolean,
    geometry: NativeGeometry,
    out: Uint8Array,
    offset: number,
  ): Promise<boolean>;
  /** The same without resizing; null instead of false. */
  decodeJpeg(
    source: string | Uint8Array,
    orient: boolean,
  ): Promise<{data: Uint8Array; width: number; height: number} | null>;
  /** Runs each loop for `seconds`; the copy needs 256 MiB, of a GPU 512. `threads` are the CPU's. */
  measureLimits(options: {
    device: string;
    precision: NativeNetworkOptions['precision'];
    threads: number;
    seconds: number;
    copy: boolean;
  }): Promise<NativeLimits>;
  /** Memory in use on a GPU, by whomever, and the energy that it has taken so far; null where it does not say. */
  cudaCounters(index: number): {memoryBytes: number | null; millijoules: number | null};
  /**
   * Begins to count the instructions that all threads of this process execute outside the kernel; what it returns is called once,
   * ends it, and says how many there were. Instead, why not, where the processor has no such counter or the system does not let us,
   * as in most containers and virtual machines.
   */
  countInstructions(): (() => number) | string;
  /**
   * Whether an open file is now this run's alone, until it is closed or the process ends: false where it is another's, in this
   * process or not. True on a file system that has no locks.
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
   * Reads the 3x3 kernels of `count` output channels from `first` on and fuses them, as `fuseRows` does, with the 1x1 kernels;
   * the ranges are those of these channels. They come into an array of their own, or into a sink. Checksums are CRC-32 of the
   * bytes in the file, or 0. Null where not all of them can be read, or once `cancel[0]` is 1.
   * Files must stay open, and arrays must not change, until the promise settles.
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
  /** CRC-32 behind bytes that have `before`; null where this processor has no instructions that make it fast. */
  crc32: ((bytes: Uint8Array, before: number) => number) | null;
  /** CRC-32 of bytes that have `before`, and behind them `count` bytes that have `behind`. */
  joinCrc32(before: number, behind: number, count: number): number;
  /** Has the system give 2 MB pages for an array to which nobody has written. */
  preferHugePages(array: Uint8Array): void;
  /** Frees an array's memory at once; garbage is collected late where it is large. Its length is 0 from then on. */
  release(array: Float32Array): void;
  Network: new (shape: NativeNetworkShape, options: NativeNetworkOptions) => NativeNetwork;
}

let loaded: NativeAddon | undefined;

/**
 * The native addon, loaded at the first call so that `repvgg doctor` can run where it does not load.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export function native(): NativeAddon {
  loaded ??= loadAddon() as NativeAddon;
  return loaded;
}

/** The addon where something has loaded it, for what is done without it too. */
export function loadedAddon(): NativeAddon | undefined {
  return loaded;
}

/** A coded error from the addon becomes a {@link RepVGGError} whose stack names the caller. */
export function fromNative(error: unknown): unknown {
  const {code, message} = error as {code?: RepVGGError['code']; message: string};
  return code?.startsWith('ERR_') && !(error instanceof RepVGGError)
    ? new RepVGGError(code, message, {cause: error})
    : error;
}
