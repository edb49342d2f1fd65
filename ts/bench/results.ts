import type {Form} from '../network.ts';

/** What is timed: the network alone, or JPEG bytes to labels, or one of the steps before the network. */
export type Stage = 'engine' | 'pipeline' | 'decode' | 'preprocess';

export const stages: readonly Stage[] = ['engine', 'pipeline', 'decode', 'preprocess'];

/**
 * Whom `--peers` measures. 'pytorch' runs layer by layer, and on a GPU also as a CUDA graph, in every precision that it has. Compiling
 * takes a minute a case: 'pytorch-compile' is in the precision of the run only.
 */
export const peerNames = ['onnxruntime-node', 'transformers', 'pytorch', 'pytorch-compile'] as const;
export type PeerName = (typeof peerNames)[number];

/** Of one quantity over the rounds of a run. */
export interface Range {
  min: number;
  median: number;
  max: number;
  /** Rounds. */
  runs: number;
}

/** One line of the table. docs/performance.md describes every field, docs/bench-results.schema.json is its JSON schema. */
export interface BenchResult {
  /** 'repvgg', or a peer such as 'onnxruntime-node' or 'pytorch-eager'. */
  runner: string;
  /** null where no network is involved: decode and preprocess. */
  model: string | null;
  form: Form;
  stage: Stage;
  device: string;
  precision: string;
  batch: number;
  threads: number;
  imagesPerSecond: Range;
  /** Of one batch, at the median rate. */
  latencyMs: number;
  /** Two operations for each multiply-accumulate of the fused network as the paper counts them, whatever algorithm ran. */
  effectiveTflops: number | null;
  /** Median over the rounds of the effective rate over the peak measured in the same round. Winograd can exceed 1. */
  fractionOfPeak: number | null;
  /** Its range over the rounds. */
  fractionRange: Range | null;
  /**
   * The same by the time that the processor gave this process and the loops of the peak, instead of the clock's: what others run
   * meanwhile hardly changes it, and threads that sleep are not in it. null of GPUs, peers, and where no network is involved.
   */
  cpuTimeFraction?: Range | null;
  /** (max - min) / median of imagesPerSecond. */
  spread: number;
  /** Whether the spread exceeds 10 %. */
  noisy: boolean;
  /** Of peers: images per second of repvgg over those of the peer, paired by round. */
  ratio: Range | null;
  /** Of peers: relative L2 difference of the logits from repvgg's, before timing. */
  outputError: number | null;
  /** When the case ended: resident memory of the whole process, or what is in use on the GPU; null for peers. */
  memoryBytes: number | null;
  /** Where the processor (RAPL, the whole socket) or the GPU (NVML) reports its energy, over one more sample; null for peers. */
  joulesPerImage: number | null;
  /** Of the CPU's engine, outside the kernel, all threads of the process together; null where the system does not count them. */
  instructionsPerImage: Range | null;
}

/** What the device did at best during the run; of the CPU, on as many threads as the results have. */
export interface BenchLimits {
  threads: number;
  /** Of fmaGflops. */
  instructionSet: string;
  /** fp32 multiply-adds between registers, median over the run. */
  fmaGflops: number;
  /** The same, with its range. */
  fma: Range;
  /** fp32 matrix product of 1024 x 1024 by PyTorch; null without it. */
  gemmGflops: number | null;
  /** Products of matrix units: bf16 (AMX), or on a GPU in the precision of the run; null without them, and for fp32. */
  matrixTflops: number | null;
  /** A copy of 128 MiB, on a GPU of 256 from device memory to device memory: bytes read and written. */
  copyGBps: number;
  /** Reading half of what the second-level cache holds, 16 MB at most, again and again, on a GPU; null elsewhere. */
  l2GBps: number | null;
}

export interface BenchMachine {
  cpu: string;
  cores: number;
  usableCores: number;
  instructionSets: string[];
  memoryBytes: number;
  platform: string;
  arch: string;
  node: string;
  gpus: string[];
}

/** One 3x3 convolution of a network, for one image. */
export interface BenchLayer {
  /** "stage0", "stage1.0" and so on. */
  name: string;
  inChannels: number;
  outChannels: number;
  stride: number;
  groups: number;
  /** Of the output. */
  height: number;
  width: number;
  /** "direct", or "f2", "f4x2" or "f4" for Winograd's F(2x2, 3x3), F(4x2, 3x3) and F(4x4, 3x3); with its tile on a GPU. */
  algorithm: string;
  /** Why that one: "measured", "cached", "estimated", "pinned" or "only". */
  source: string;
  /** On average over the run; on a GPU when the network was loaded. null where it was not measured. */
  microseconds: number | null;
  /** Two operations for each multiply-accumulate of the convolution, whatever algorithm ran. */
  effectiveGflops: number | null;
  /** Multiplications of the algorithm, those of tiles that reach over the edge included. */
  products: number;
  /**
   * The roofline: those multiplications at the machine's peak, or, where that takes longer, the weights once for each
   * batch at its copy bandwidth. Transforms, and maps that leave the caches, come on top.
   */
  leastMicroseconds: number | null;
  /** leastMicroseconds / microseconds. */
  reached: number | null;
}

export interface BenchLayers
  extends Pick<BenchResult, 'form' | 'device' | 'precision' | 'batch' | 'threads'> {
  model: string;
  layers: BenchLayer[];
}

export interface BenchReport {
  machine: BenchMachine;
  /** Of this package. */
  version: string;
  /** ISO 8601. */
  date: string;
  /** Versions of the peers that ran. */
  peers: Record<string, string>;
  results: BenchResult[];
  limits: BenchLimits;
  /** With `--layers`: of each network that was timed. */
  layers?: BenchLayers[];
  /** What was asked for and not run, and why: one sentence each. */
  skipped: string[];
}

/** A spread above this is marked. */
export const noisySpread = 0.1;

export function rangeOf(values: readonly number[]): Range {
  return {min: Math.min(...values), median: median(values), max: Math.max(...values), runs: values.length};
}

/** (max - min) / median. */
export function spreadOf({min, median, max}: Range): number {
  return (max - min) / median;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Whether the peak of a network in this precision is that of fp32 multiply-adds, and not of matrix units: fp8 is simulated in fp32. */
export function usesMultiplyAdds(precision: string): boolean {
  return precision === 'fp32' || precision === 'fp8-simulated';
}

/** What makes two results the same case: everything but the figures. */
export function caseKey({
  runner,
  model,
  form,
  stage,
  device,
  precision,
  batch,
  threads,
}: BenchResult): string {
  return [runner, model ?? '-', form, stage, device, precision, `batch ${batch}`, `${threads} threads`].join(
    ' ',
  );
}
