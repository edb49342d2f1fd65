import type {BenchReport, BenchResult} from '../../ts/bench/results.ts';

/** A result with these images per second: median, and 5 % to either side. */
export function result(median: number, fields: Partial<BenchResult> = {}): BenchResult {
  return {
    runner: 'repvgg',
    model: 'RepVGG-A0',
    form: 'deploy',
    stage: 'engine',
    device: 'cpu',
    precision: 'fp32',
    batch: 8,
    threads: 2,
    imagesPerSecond: {min: 0.95 * median, median, max: 1.05 * median, runs: 7},
    latencyMs: 8000 / median,
    latencyPercentilesMs: {p50: 7000 / median, p90: 9000 / median, p99: 12_000 / median, runs: 120},
    effectiveTflops: 0.0027 * median,
    fractionOfPeak: median / 100,
    fractionRange: null,
    cpuTimeFraction: null,
    spread: 0.1,
    noisy: false,
    ratio: null,
    outputError: null,
    memoryBytes: 1e8,
    joulesPerImage: null,
    instructionsPerImage: null,
    ...fields,
  };
}

export function reportOf(results: BenchResult[]): BenchReport {
  return {
    machine: {
      cpu: 'A <fast> CPU',
      cores: 2,
      usableCores: 2,
      instructionSets: ['avx2', 'baseline'],
      memoryBytes: 8e9,
      platform: 'linux',
      arch: 'x64',
      node: 'v20.0.0',
      gpus: [],
    },
    version: '0.1.0',
    date: '2026-01-01T00:00:00.000Z',
    peers: {'onnxruntime-node': '1.0.0'},
    results,
    limits: {
      threads: 2,
      instructionSet: 'avx2',
      fmaGflops: 200,
      fma: {min: 190, median: 200, max: 210, runs: 9},
      gemmGflops: null,
      matrixTflops: null,
      copyGBps: 10,
      l2GBps: null,
    },
    skipped: [],
  };
}

/** Two networks at three batch sizes beside a peer, with their stages. */
export function fullReport(): BenchReport {
  const results = ['RepVGG-A0', 'RepVGG-A2'].flatMap((model, i) => [
    ...[1, 8, 32].flatMap(batch => {
      const rate = (100 + batch) / (1 + 3 * i);
      const ratio = {min: 1.8, median: 2, max: 2.3, runs: 7};
      const peer = {runner: 'onnxruntime-node', ratio, outputError: 1e-6, memoryBytes: null};
      return [result(rate, {model, batch}), result(rate / 2, {model, batch, ...peer})];
    }),
    result(60 / (1 + i), {model, batch: 32, stage: 'pipeline'}),
  ]);
  const alone = {
    model: null,
    batch: 1,
    precision: 'uint8',
    effectiveTflops: null,
    fractionOfPeak: null,
    latencyPercentilesMs: null,
  };
  results.push(result(300, {...alone, stage: 'decode'}), result(900, {...alone, stage: 'preprocess'}));
  return reportOf(results);
}
