import {readdirSync, readFileSync} from 'node:fs';
import {availableParallelism, cpus, totalmem} from 'node:os';
import {join} from 'node:path';
import {native} from '../native.ts';
import type {BenchMachine} from './results.ts';

/** What the results were measured on. Nothing that names the machine or its owner. */
export function describeMachine(): BenchMachine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    usableCores: availableParallelism(),
    instructionSets: native().cpuInfo().instructionSets,
    memoryBytes: totalmem(),
    platform: process.platform,
    arch: process.arch,
    node: process.version,
    gpus: native()
      .cudaInfo()
      .devices.map(({name}) => name),
  };
}

/** Microjoules that the sockets have used so far, and the value at which their counters begin again. */
export interface EnergyCounter {
  microjoules: number;
  range: number;
}

/**
 * Reads the energy counters of Linux's powercap (Intel and AMD RAPL), one per socket. Empty where there are none or only
 * root may read them, as in most containers and virtual machines.
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

/** Of a device by its name, "cuda:1". */
export function gpuIndex(device: string): number {
  return Number(device.slice('cuda:'.length));
}

/** The same of GPUs, by NVML. Empty unless all of them say. */
export function readGpuEnergy(indices: readonly number[]): EnergyCounter[] {
  const counters = indices.flatMap(index => {
    const {millijoules} = native().cudaCounters(index);
    return millijoules === null ? [] : [{microjoules: 1000 * millijoules, range: Infinity}];
  });
  return counters.length === indices.length ? counters : [];
}

/** Joules between two readings, or null without counters. A counter may have begun again once. */
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
