import {invalidArgument, RepVGGError} from '../errors.ts';
import type {Form} from '../network.ts';
import {type NativeCudaInfo, native} from './addon.ts';

/** Where to run. 'auto' uses a GPU if possible; {@link Device.reason} says why, or why not. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

/**
 * Several devices of one kind, such as `['cuda:0', 'cuda:1']`. Each has a copy of the weights, and batches are distributed
 * round-robin. GPUs of the same model give the same results; others may run other algorithms, which round differently.
 */
export type DeviceList = readonly Exclude<DeviceName, 'auto'>[];

/**
 * Arithmetic of the convolutions. 'auto' is fp32 on the CPU, which also supports bf16 (deploy form only), and fp16 with fp32
 * accumulation on a GPU, which supports all four: tensor cores are several times faster than fp32, and of their formats fp16 is
 * the most precise. Its largest value is 65504; networks with larger activations need bf16 or fp32. On a CPU bf16 is several
 * times faster than fp32 with AMX; with AVX-512 BF16 alone it is no faster, but takes less memory.
 *
 * 'fp8' (e4m3) needs a Hopper GPU and {@link LoadOptions.calibration}; 'fp8-simulated' computes its results on the CPU, no
 * faster than fp32, to evaluate its accuracy. docs/performance.md has figures.
 */
export type Precision = 'auto' | 'fp32' | 'tf32' | 'fp16' | 'bf16' | 'fp8' | 'fp8-simulated';

export function isFp8(precision: Precision): precision is 'fp8' | 'fp8-simulated' {
  return precision === 'fp8' || precision === 'fp8-simulated';
}

/** The device that a model runs on. */
export interface Device {
  /** "cpu" or "cuda:0"; for several devices, "cuda:0,cuda:1". */
  name: string;
  /** The name of each device. */
  members: readonly string[];
  backend: 'cpu' | 'cuda';
  /** Why this device was chosen, in a sentence. */
  reason: string;
}

/** A device and a precision that it supports. */
export interface Placement {
  device: Device;
  precision: Exclude<Precision, 'auto'>;
}

export const precisions: readonly Precision[] = [
  'auto',
  'fp32',
  'tf32',
  'fp16',
  'bf16',
  'fp8',
  'fp8-simulated',
];

/**
 * Chooses the device and checks that it supports the precision of a network in this form.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT, ERR_DEVICE_UNAVAILABLE (a GPU was requested by name and is not usable),
 *   ERR_PRECISION_UNSUPPORTED
 */
export function chooseDevice(
  device: DeviceName | DeviceList,
  precision: Precision,
  form: Form = 'deploy',
): Placement {
  return Array.isArray(device)
    ? chooseAll(device, precision, form)
    : chooseOne(device as DeviceName, precision, form);
}

function chooseAll(devices: DeviceList, precision: Precision, form: Form): Placement {
  if (devices.length === 0 || (devices as readonly DeviceName[]).includes('auto')) {
    throw invalidArgument('device', 'a list of devices by name, such as ["cuda:0", "cuda:1"]', devices);
  }
  const placements = devices.map(device => chooseOne(device, precision, form));
  const [first] = placements;
  const members = placements.map(({device}) => device);
  if (members.some(({backend}) => backend !== first!.device.backend)) {
    throw invalidArgument('device', 'devices of one kind', devices);
  }
  return {
    device: {
      name: members.map(({name}) => name).join(','),
      members: members.map(({name}) => name),
      backend: first!.device.backend,
      reason: [...new Set(members.map(({reason}) => reason))].join(' '),
    },
    precision: first!.precision,
  };
}

function chooseOne(device: DeviceName, precision: Precision, form: Form): Placement {
  if (typeof device !== 'string' || !/^(auto|cpu|cuda(:\d+)?)$/.test(device)) {
    throw invalidArgument('device', '"auto", "cpu", "cuda" or "cuda:N"', device);
  }
  if (!precisions.includes(precision)) {
    throw invalidArgument('precision', precisions.map(p => `"${p}"`).join(', '), precision);
  }
  if (form === 'train' && isFp8(precision)) {
    throw unsupported('fp8 runs the fused form only: use "fp32", or on a GPU "fp16".');
  }
  const simulated = precision === 'fp8-simulated';
  if (simulated && device.startsWith('cuda')) {
    throw unsupported('fp8 is simulated on the CPU: use device "cpu", or on a Hopper GPU precision "fp8".');
  }
  let reason = simulated ? 'fp8 is simulated on the CPU.' : 'The CPU was asked for.';
  if (device !== 'cpu' && !simulated) {
    const cuda = native().cudaInfo();
    const index = device.startsWith('cuda:') ? Number(device.slice('cuda:'.length)) : 0;
    const problem = whyNoCuda(cuda, index);
    if (problem === null) {
      const name = `cuda:${index}`;
      const {name: model, computeCapability} = cuda.devices[index]!;
      if (precision === 'fp8' && computeCapability !== '9.0') {
        throw unsupported(
          `fp8 is for GPUs of compute capability 9.0, such as the H100 and H200; that of the ${model} is ${computeCapability}: use "fp16".`,
        );
      }
      const reason = `${model} can be used.`;
      return {
        device: {name, members: [name], backend: 'cuda', reason},
        precision: precision === 'auto' ? 'fp16' : precision,
      };
    }
    if (device !== 'auto') {
      throw new RepVGGError('ERR_DEVICE_UNAVAILABLE', `Cannot use "${device}": ${problem}`);
    }
    reason = problem;
  }
  if (precision === 'fp16' || precision === 'tf32') {
    throw unsupported(`The CPU has no ${precision} path: use "fp32" or "bf16".`);
  }
  if (precision === 'fp8') {
    const instead = 'use "fp32" or "bf16", or "fp8-simulated" to see how accurate fp8 would be';
    throw unsupported(`fp8 is for GPUs of compute capability 9.0, such as the H100 and H200: ${instead}.`);
  }
  if (precision === 'bf16' && form === 'train') {
    throw unsupported('On the CPU bf16 runs the fused form only: use "fp32".');
  }
  if (precision === 'bf16' && native().cpuInfo().bf16 === null) {
    throw unsupported('This processor has no bf16 instructions (AMX or AVX-512 BF16): use "fp32".');
  }
  return {
    device: {name: 'cpu', members: ['cpu'], backend: 'cpu', reason},
    precision: precision === 'auto' ? 'fp32' : precision,
  };
}

const unsupported = (message: string): RepVGGError => new RepVGGError('ERR_PRECISION_UNSUPPORTED', message);

/** The first driver branch for each major version of CUDA, from table 1 of NVIDIA's "CUDA Compatibility". */
const firstDrivers: Record<number, string> = {12: '525', 13: '580'};

/** Why this process cannot run networks on GPU number `index`; null if it can. */
export function whyNoCuda(
  {built, devices, error, runtimeVersion, driverVersion}: NativeCudaInfo,
  index = 0,
): string | null {
  if (!built) return 'this build of the addon has no CUDA support.';
  // Within a major version of CUDA, the driver of its first release suffices.
  const major = Math.floor(runtimeVersion / 1000);
  const required = `CUDA ${major}.0 or later${firstDrivers[major] ? ` (version ${firstDrivers[major]})` : ''}`;
  if (driverVersion === 0) return `no NVIDIA driver was found; one for ${required} is required.`;
  if (driverVersion < major * 1000) {
    return `the NVIDIA driver is for CUDA ${cudaVersion(driverVersion)}, and one for ${required} is required: update it.`;
  }
  if (devices.length === 0) return `the driver offers no GPU (${error}).`;
  const device = devices[index];
  if (!device) {
    return `there is no GPU ${index}: this machine has ${devices.length}, counted from 0.`;
  }
  return device.problem === null ? null : `${device.name} cannot run the kernels: ${device.problem}.`;
}

/** Formats a version number of CUDA: 12040 is "12.4". */
export function cudaVersion(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}
