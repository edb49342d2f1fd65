import {availableParallelism, cpus, release, type as systemName} from 'node:os';
import type {Command} from 'commander';
import {loadSharp} from '../images/load_sharp.ts';
import {type NativeCudaInfo, native} from '../native/addon.ts';
import {chooseDevice, cudaVersion, type Device} from '../native/device.ts';
import {findAddon} from '../native/load_addon.ts';
import {thisMachine} from '../native/machine.ts';
import {jsonOption} from './options.ts';
import {printJson, printTable} from './output.ts';
import {version} from './version.ts';

/** What --json prints. If a part does not load, its `error` says why and values that need it are null. */
interface Report {
  repvgg: string;
  node: string;
  nodeApi: string;
  system: {platform: string; arch: string; name: string; release: string; glibc: string | null};
  cpu: {model: string; cores: number; usableCores: number; instructionSets: string[] | null};
  addon: {path: string | null; error: string | null};
  cuda: NativeCudaInfo | null;
  /** The device that 'auto' selects. */
  device: Device | null;
  /** The addon's own JPEG decoder. */
  jpeg: string | null;
  sharp: {version: string | null; libvips: string | null; error: string | null};
}

const examples = `
Examples:
  $ repvgg doctor
  $ repvgg doctor --json > doctor.json`;

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('show what a bug report needs: versions, CPU, GPU, and whether the native modules load')
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(doctor);
}

/** Prints the whole report before it fails because of a part that does not load. */
async function doctor({json}: {json?: true}): Promise<void> {
  const addon = await attempt(() => ({
    cpu: native().cpuInfo(),
    cuda: native().cudaInfo(),
    device: chooseDevice('auto', 'auto').device,
  }));
  const sharp = await attempt(async () => (await loadSharp()).versions);
  const report: Report = {
    repvgg: version,
    node: process.version,
    nodeApi: process.versions.napi!,
    system: {
      platform: process.platform,
      arch: process.arch,
      name: systemName(),
      release: release(),
      glibc: thisMachine().glibc,
    },
    cpu: {
      model: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      usableCores: addon.value?.cpu.usableCores ?? availableParallelism(),
      instructionSets: addon.value?.cpu.instructionSets ?? null,
    },
    addon: {path: findAddon(), error: addon.error?.message ?? null},
    cuda: addon.value?.cuda ?? null,
    device: addon.value?.device ?? null,
    jpeg: addon.value?.cpu.jpeg ?? null,
    sharp: {
      version: sharp.value?.sharp ?? null,
      libvips: sharp.value?.vips ?? null,
      error: sharp.error?.message ?? null,
    },
  };
  await (json ? printJson(report) : printReport(report));
  if (addon.error) throw addon.error;
  if (sharp.error) throw sharp.error;
}

async function attempt<T>(load: () => T | Promise<T>): Promise<{value?: T; error?: Error}> {
  try {
    return {value: await load()};
  } catch (error) {
    return {error: error as Error};
  }
}

async function printReport(report: Report): Promise<void> {
  const {repvgg, node, nodeApi, system, cpu, addon, cuda, device, sharp} = report;
  const {platform, arch, name, release, glibc} = system;
  await printTable('ll', [
    ['repvgg', repvgg],
    ['node', `${node}, Node-API ${nodeApi}`],
    ['system', `${platform}-${arch}, ${name} ${release}, ${glibc ? `glibc ${glibc}` : 'no glibc'}`],
    ['cpu', `${cpu.model}, ${cpu.usableCores} of ${cpu.cores} cores usable`],
    ['instructions', cpu.instructionSets?.join(', ') ?? 'unknown'],
    ['addon', addon.path ?? 'not found'],
    ['', addon.error ?? 'loads'],
    ...(cuda ? cudaRows(cuda) : [['cuda', 'unknown']]),
    ['device', device ? `${device.name}: ${device.reason}` : 'unknown'],
    ['jpeg', jpegRow(report)],
    ['sharp', sharp.error?.split('\n')[0] ?? `${sharp.version}, libvips ${sharp.libvips}`],
  ]);
}

function jpegRow({addon, jpeg}: Report): string {
  if (addon.error !== null) return 'unknown';
  return jpeg ?? 'not built in: sharp decodes them, at about a third of the speed';
}

function cudaRows({built, runtimeVersion, driverVersion, devices}: NativeCudaInfo): string[][] {
  if (!built) return [['cuda', 'not built in']];
  const versions = `built in, runtime ${cudaVersion(runtimeVersion)}, driver ${driverVersion === 0 ? 'none' : cudaVersion(driverVersion)}`;
  const gpus = devices.map(({name, computeCapability, memoryBytes, problem}, i) => {
    const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`;
    return [
      '',
      `cuda:${i} is ${name}, compute capability ${computeCapability}, ${memory}${problem ? `: ${problem}` : ''}`,
    ];
  });
  return [['cuda', versions], ...gpus];
}
