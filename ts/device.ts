import {invalidArgument, RepVGGError} from './errors.ts';
import {type NativeCudaInfo, native} from './native.ts';

/** Where to run: 'auto' takes a GPU if one can be used and says in {@link Device.reason} why not otherwise. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

/** Arithmetic of the convolutions. 'auto' is fp32 on the CPU, which also has bf16 (deploy form only). */
export type Precision = 'auto' | 'fp32' | 'tf32' | 'fp16' | 'bf16';

/** The device a model was given. */
export interface Device {
  /** "cpu" or "cuda:0". */
  name: string;
  backend: 'cpu' | 'cuda';
  /** Why this device, in a sentence. */
  reason: string;
}

/** What a model runs on, and in which arithmetic. */
export interface Placement {
  device: Device;
  precision: Exclude<Precision, 'auto'>;
}

const precisions: readonly Precision[] = ['auto', 'fp32', 'tf32', 'fp16', 'bf16'];

/**
 * Chooses the device and checks that it has the precision.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT, ERR_DEVICE_UNAVAILABLE (a GPU was asked for by name and cannot be had),
 *   ERR_PRECISION_UNSUPPORTED
 */
export function chooseDevice(device: DeviceName, precision: Precision): Placement {
  if (typeof device !== 'string' || !/^(auto|cpu|cuda(:\d+)?)$/.test(device)) {
    throw invalidArgument('device', '"auto", "cpu", "cuda" or "cuda:N"', device);
  }
  if (!precisions.includes(precision)) {
    throw invalidArgument('precision', precisions.map(p => `"${p}"`).join(', '), precision);
  }
  const reason = device === 'cpu' ? 'The CPU was asked for.' : whyNoCuda(native().cudaInfo());
  if (device.startsWith('cuda'))
    throw new RepVGGError('ERR_DEVICE_UNAVAILABLE', `Cannot use "${device}": ${reason}`);
  if (precision === 'fp16' || precision === 'tf32') {
    throw new RepVGGError(
      'ERR_PRECISION_UNSUPPORTED',
      `The CPU has no ${precision} path: use "fp32" or "bf16".`,
    );
  }
  if (precision === 'bf16' && native().cpuInfo().bf16 === null) {
    throw new RepVGGError(
      'ERR_PRECISION_UNSUPPORTED',
      'This processor has no bf16 instructions (AMX or AVX-512 BF16): use "fp32".',
    );
  }
  return {
    device: {name: 'cpu', backend: 'cpu', reason},
    precision: precision === 'auto' ? 'fp32' : precision,
  };
}

/** Why this process cannot run networks on a GPU. */
export function whyNoCuda({built, devices, error, driverVersion}: NativeCudaInfo): string {
  if (!built) return 'this build of the addon has no CUDA support.';
  if (driverVersion === 0) return `no NVIDIA driver was found (${error}).`;
  if (devices.length === 0) return `the driver offers no GPU (${error}).`;
  return 'this version runs networks on the CPU only.';
}
