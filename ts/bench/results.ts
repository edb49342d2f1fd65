import {architectureByName, isArchitectureName} from '../architecture.ts';
import type {Form} from '../network.ts';
import {defaultPreprocessing} from '../preprocessing.ts';

/** What is timed: the network alone, everything from JPEG bytes to labels, or one of the steps before the network. */
export type Stage = 'engine' | 'pipeline' | 'decode' | 'preprocess';

export const stages: readonly Stage[] = ['engine', 'pipeline', 'decode', 'preprocess'];

/**
 * Runtimes that `--peers` measures. 'pytorch' runs eagerly and on a GPU also as a CUDA graph: on a CPU in fp32 and bf16, on a GPU in the
 * precision of the run. 'pytorch-compile' is always in the precision of the run, because compiling takes a minute per case.
 */
export const peerNames = ['onnxruntime-node', 'transformers', 'pytorch', 'pytorch-compile'] as const;
export type PeerName = (typeof peerNames)[number];

/** A quantity over the rounds of a run. */
export interface Range {
  min: number;
  median: number;
  max: number;
  /** The number of rounds. */
  runs: number;
}

/** Percentiles of the times of single runs, by linear interpolation. null for those of too few runs to have one beyond it. */
export interface Percentiles {
  p50: number;
  /** null for fewer than 10 runs. */
  p90: number | null;
  /** null for fewer than 100 runs. */
  p99: number | null;
  /** The number of runs, of all rounds together. */
  runs: number;
}

/** One line of the table. docs/performance.md describes every field, docs/bench-results.schema.json is its JSON schema. */
export interface BenchResult {
  /** 'repvgg', or a peer such as 'onnxruntime-node' or 'pytorch-eager'. */
  runner: string;
  /** A variant, or a checkpoint as it was named; null for decode and preprocess, which involve no network. */
  model: string | null;
  /** The side of its input in pixels; absent in older files, where it is the variant's usual. */
  crop?: number | null;
  form: Form;
  stage: Stage;
  device: string;
  precision: string;
  batch: number;
  threads: number;
  imagesPerSecond: Range;
  /** Time of one batch at the median rate. */
  latencyMs: number;
  /**
   * Milliseconds of single batches with nothing else in flight, from pixels (for the pipeline, JPEG bytes) to logits (labels) in the
   * caller's memory. Measured apart from the rate. null for decode and preprocess.
   */
  latencyPercentilesMs?: Percentiles | null;
  /** Counts two operations per multiply-accumulate of the fused network, as in the paper, whatever the algorithm. */
  effectiveTflops: number | null;
  /** Median over the rounds of the effective rate over the peak measured in the same round. Winograd can exceed 1. */
  fractionOfPeak: number | null;
  /** Its range over the rounds. */
  fractionRange: Range | null;
  /**
   * The same, but with processor time instead of elapsed time for both the network and the peak. It hardly depends on other processes
   * and excludes sleeping threads. null for GPUs, peers, decode and preprocess.
   */
  cpuTimeFraction?: Range | null;
  /** (max - min) / median of imagesPerSecond. */
  spread: number;
  /** Whether the spread exceeds 10 %. */
  noisy: boolean;
  /** For peers: images per second of repvgg divided by those of the peer in the same round. */
  ratio: Range | null;
  /** For peers: relative L2 difference of the logits from those of repvgg, before timing. */
  outputError: number | null;
  /** At the end of the case: resident memory of the whole process, or memory in use on the GPU; null for peers. */
  memoryBytes: number | null;
  /** Over one further sample, by the counters of the processor (RAPL, whole sockets) or GPU (NVML); null without counters and for peers. */
  joulesPerImage: number | null;
  /** User-mode instructions of all threads of the process, for the engine on a CPU; null if they cannot be counted. */
  instructionsPerImage: Range | null;
}

/** Peak rates of the device during the run; for a CPU, with the same number of threads as the results. */
export interface BenchLimits {
  threads: number;
  /** The instruction set of fmaGflops. */
  instructionSet: string;
  /** fp32 multiply-adds on registers, median over the run. */
  fmaGflops: number;
  /** The same with its range. */
  fma: Range;
  /** PyTorch's fp32 product of 1024 x 1024 matrices; null without PyTorch. */
  gemmGflops: number | null;
  /** Peak of products in bf16 (by AMX, else by AVX-512), or on a GPU in the precision of the run; null without them and for fp32. */
  matrixTflops: number | null;
  /** Bytes read and written by a copy of 128 MiB, or on a GPU of 256 MiB within device memory. */
  copyGBps: number;
  /** On a GPU: repeated reads of half the second-level cache, at most 16 MB; null on a CPU. */
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
  /** Size of the output. */
  height: number;
  width: number;
  /** "direct", or "f2", "f4x2" or "f4" for Winograd's F(2x2, 3x3), F(4x2, 3x3) and F(4x4, 3x3); on a GPU followed by the tile. */
  algorithm: string;
  /** How it was chosen: "measured", "cached", "estimated", "pinned" or "only". */
  source: string;
  /** Average over the run; on a GPU, as measured when the network was loaded. null if not measured. */
  microseconds: number | null;
  /** Counts two operations per multiply-accumulate of the convolution, whatever the algorithm. */
  effectiveGflops: number | null;
  /** Multiplications of the algorithm, including those of tiles that extend past the edge. */
  products: number;
  /**
   * The roofline: the multiplications at peak rate, or reading the weights once per batch (on a GPU, also reading and writing the feature
   * maps) at copy bandwidth, whichever takes longer. It ignores transforms and, on a CPU, maps that do not fit into the caches.
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
  /** The version of this package. */
  version: string;
  /** ISO 8601. */
  date: string;
  /** Versions of the peers, by name. */
  peers: Record<string, string>;
  results: BenchResult[];
  limits: BenchLimits;
  /** With `--layers`: each network that was timed. */
  layers?: BenchLayers[];
  /** What was requested but not run, and why, in one sentence each. */
  skipped: string[];
}

/** Results with a larger spread are marked as noisy. */
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

/**
 * A percentile of one or more values in ascending order, linearly interpolated between the two next to it, as numpy.percentile does
 * by default.
 */
function percentile(sorted: readonly number[], percent: number): number {
  const place = ((sorted.length - 1) * percent) / 100;
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
  return below + (above - below) * (place % 1);
}

/** null without times. */
export function percentilesOf(times: readonly number[]): Percentiles | null {
  const runs = times.length;
  if (runs === 0) return null;
  const sorted = times.toSorted((a, b) => a - b);
  return {
    p50: percentile(sorted, 50),
    p90: runs < 10 ? null : percentile(sorted, 90),
    p99: runs < 100 ? null : percentile(sorted, 99),
    runs,
  };
}

/** Whether the peak for this precision is that of fp32 multiply-adds rather than matrix units. Simulated fp8 computes in fp32. */
export function usesMultiplyAdds(precision: string): boolean {
  return precision === 'fp32' || precision === 'fp8-simulated';
}

/** The side of a variant's input where it is not chosen; undefined for a checkpoint. */
export function usualCrop(model: string): number | undefined {
  return isArchitectureName(model) ? defaultPreprocessing(architectureByName(model)).crop : undefined;
}

/** Identifies the case of a result: everything but the measurements. */
export function caseKey({
  runner,
  model,
  crop,
  form,
  stage,
  device,
  precision,
  batch,
  threads,
}: BenchResult): string {
  const size = crop && crop !== usualCrop(model!) ? [`${crop} pixels`] : [];
  return [
    runner,
    model ?? '-',
    ...size,
    form,
    stage,
    device,
    precision,
    `batch ${batch}`,
    `${threads} threads`,
  ].join(' ');
}
