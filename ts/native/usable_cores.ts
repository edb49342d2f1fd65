import {native} from './addon.ts';

let cores: number | undefined;

/** The cores that this process may use: its affinity mask, lowered by the CPU quotas of its cgroups, when it was first asked. */
export function usableCores(): number {
  cores ??= native().cpuInfo().usableCores;
  return cores;
}
