import type {NativeLimits} from '../native/addon.ts';
import {layerTable} from '../statistics.ts';
import type {Case} from './cases.ts';
import type {Rounds} from './measure.ts';
import type {BenchModel} from './models.ts';
import type {Peer} from './peer.ts';
import {
  type BenchLimits,
  type BenchResult,
  median,
  noisySpread,
  percentilesOf,
  type Range,
  rangeOf,
  spreadOf,
  usesMultiplyAdds,
} from './results.ts';

/** What was counted for this package besides time; null without a counter. */
export interface Counted {
  joules: number | null;
  instructions: Range | null;
  memoryBytes: number | null;
}

/** The result of one contestant. */
export function toResult(
  {network, stage, batch, threads}: Case,
  peer: Peer | null,
  outputError: number | null,
  {images, cores, latencies, references}: Rounds<NativeLimits>,
  index: number,
  {joules, instructions, memoryBytes}: Counted,
): BenchResult {
  const rates = images[index]!;
  const imagesPerSecond = rangeOf(rates);
  const spread = spreadOf(imagesPerSecond);
  const precision = peer?.precision ?? network?.precision ?? 'uint8';
  const device = network?.device.name ?? 'cpu';
  const gflops = network ? (2 * imageMacs(network.model)) / 1e9 : null;
  const [peaks, cpuPeaks] = usesMultiplyAdds(precision)
    ? [references.map(one => one.fmaGflops), references.map(one => one.fmaPerCpuSecond)]
    : [references.map(one => one.matrixGflops), references.map(one => one.matrixPerCpuSecond)];
  const fractionRange = fractionsOf(rates, gflops, peaks);
  const ratesOfCpu = rates.map((rate, i) => rate / cores[index]![i]!);
  return {
    runner: peer?.runner ?? 'repvgg',
    model: network?.model.name ?? null,
    crop: network?.model.preprocessing.crop ?? null,
    form: network?.form ?? 'deploy',
    stage,
    device,
    precision,
    batch,
    threads,
    imagesPerSecond,
    latencyMs: (1000 * batch) / imagesPerSecond.median,
    latencyPercentilesMs: percentilesOf(latencies[index]!),
    effectiveTflops: gflops === null ? null : (imagesPerSecond.median * gflops) / 1000,
    fractionOfPeak: fractionRange?.median ?? null,
    fractionRange,
    cpuTimeFraction: peer ? null : fractionsOf(ratesOfCpu, gflops, cpuPeaks),
    spread,
    noisy: spread > noisySpread,
    ratio: peer ? rangeOf(rates.map((rate, i) => images[0]![i]! / rate)) : null,
    outputError,
    memoryBytes: peer ? null : memoryBytes,
    joulesPerImage: peer ? null : joules,
    instructionsPerImage: peer ? null : instructions,
  };
}

/** Fractions of the peak in the same round; null without a peak or a network. */
function fractionsOf(
  rates: readonly number[],
  gflops: number | null,
  peaks: readonly (number | null)[],
): Range | null {
  if (gflops === null || peaks.includes(null)) return null;
  return rangeOf(rates.map((rate, i) => (rate * gflops) / peaks[i]!));
}

function imageMacs({architecture, preprocessing: {crop}}: BenchModel): number {
  return layerTable(architecture, {height: crop, width: crop}).total.macs;
}

/** Peak rates of the device, from the references of all rounds. */
export function limitsOf(
  references: readonly NativeLimits[],
  threads: number,
  gemmGflops: number | null,
): BenchLimits {
  const fma = rangeOf(references.map(({fmaGflops}) => fmaGflops));
  const matrix = references.flatMap(({matrixGflops}) => matrixGflops ?? []);
  const [{instructionSet, copyGBps, l2GBps}] = references as [NativeLimits];
  return {
    threads,
    instructionSet,
    fmaGflops: fma.median,
    fma,
    gemmGflops,
    matrixTflops: matrix.length > 0 ? median(matrix) / 1000 : null,
    copyGBps,
    l2GBps,
  };
}
