import {cpus, totalmem} from 'node:os';
import {native} from '../native/addon.ts';
import {usableCores} from '../native/usable_cores.ts';
import type {BenchMachine} from './results.ts';

/** The hardware and software of this machine, without anything that identifies the machine or its owner. */
export function thisMachine(): BenchMachine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    usableCores: usableCores(),
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
