import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {native} from '../native/addon.ts';
import type {Contestant} from './measure.ts';
import {type Range, rangeOf} from './results.ts';

/** The energy counter of a socket or GPU, in microjoules, and the value at which it wraps around. */
export interface EnergyCounter {
  microjoules: number;
  range: number;
}

/** Starts counting the instructions of this process. Returns a function that stops and returns the count, or why it cannot count. */
export type InstructionCounter = () => (() => number) | string;

const countedRuns = 5;

/** Bytes in use on a GPU by all processes, or for the CPU the resident memory of this process. */
export function memoryInUse(device = 'cpu'): number | null {
  return device === 'cpu' ? process.memoryUsage.rss() : native().cudaCounters(gpuIndex(device)).memoryBytes;
}

/**
 * Instructions per image over a few further runs of one batch. Counts include other work of the process and waiting threads; the minimum
 * has the least of these. null if instructions cannot be counted.
 */
export async function instructionsPerImage(
  engine: Contestant,
  batch: number,
  count: InstructionCounter,
): Promise<Range | null> {
  const counts: number[] = [];
  for (let run = 0; run < countedRuns; run++) {
    const stop = count();
    if (typeof stop === 'string') return null;
    await engine.sample(0); // One batch
    counts.push(stop() / batch);
  }
  // On some virtual machines the counter stays 0.
  return Math.min(...counts) > 0 ? rangeOf(counts) : null;
}

export function whyNoInstructions(count: InstructionCounter): string {
  const stop = count();
  if (typeof stop === 'string') return stop;
  stop();
  return 'the counter stays 0 on this machine';
}

/** Energy per image over one further sample after the rounds, which excludes peers and references. null without a counter. */
export async function joulesPerImage(
  contestant: Contestant,
  seconds: number,
  devices: readonly string[] | undefined,
): Promise<number | null> {
  const gpus = devices?.filter(name => name !== 'cpu').map(gpuIndex) ?? [];
  const read = gpus.length > 0 ? () => readGpuEnergy(gpus) : readEnergy;
  const before = read();
  if (before.length === 0) return null;
  const start = performance.now();
  const rate = await contestant.sample(seconds);
  const joules = joulesBetween(before, read());
  return joules === null ? null : joules / ((rate * (performance.now() - start)) / 1000);
}

/**
 * Reads the energy counters of Linux's powercap (Intel and AMD RAPL), one per socket. Empty if there are none or only root may read them,
 * as in most containers and virtual machines.
 */
export function readEnergy(folder = '/sys/class/powercap'): EnergyCounter[] {
  try {
    return readdirSync(folder)
      .filter(name => /^intel-rapl:\d+$/.test(name))
      .sort()
      .map(name => {
        const read = (file: string): number => Number(readFileSync(join(folder, name, file), 'utf8'));
        return {microjoules: read('energy_uj'), range: read('max_energy_range_uj')};
      });
  } catch {
    return [];
  }
}

/** The same for GPUs, from NVML. Empty unless all of them have a counter. */
function readGpuEnergy(indices: readonly number[]): EnergyCounter[] {
  const counters = indices.flatMap(index => {
    const {millijoules} = native().cudaCounters(index);
    return millijoules === null ? [] : [{microjoules: 1000 * millijoules, range: Infinity}];
  });
  return counters.length === indices.length ? counters : [];
}

/** Joules between two readings, or null without counters. Each counter may have wrapped around once. */
export function joulesBetween(
  before: readonly EnergyCounter[],
  after: readonly EnergyCounter[],
): number | null {
  if (before.length === 0 || before.length !== after.length) return null;
  let microjoules = 0;
  for (const [i, {microjoules: end, range}] of after.entries()) {
    const used = end - before[i]!.microjoules;
    microjoules += used < 0 ? used + range : used;
  }
  return microjoules / 1e6;
}

/** The index in a device name such as "cuda:1". */
function gpuIndex(device: string): number {
  return Number(device.slice('cuda:'.length));
}
