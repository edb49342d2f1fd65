import type {Architecture} from '../architecture.ts';
import {ParameterDigest} from '../checkpoint/parameter_digest.ts';
import {invalidArgument} from '../errors.ts';
import type {ClassLabel} from '../labels.ts';
import {
  fromNative,
  type NativeBlock,
  type NativeNetwork,
  type Winograd,
  winogradClasses,
} from '../native/addon.ts';
import {
  chooseDevice,
  type Device,
  type DeviceList,
  type DeviceName,
  type Precision,
} from '../native/device.ts';
import {createNetwork, disposing, toNativeBlock, toNativeShape} from '../native/native_network.ts';
import type {Form, NetworkParameters} from '../network.ts';
import {checkPreprocessing, type Preprocessing, type PreprocessingOptions} from '../preprocessing.ts';
import {mostImages} from '../scoring/batches.ts';
import {checkOptions, checkSignal, type FieldNames, positiveInteger} from '../support/arguments.ts';
import {unwatched} from '../support/promises.ts';
import {type Calibration, checkCalibration, checkFp8, rangesOf} from './calibration.ts';
import {NativeFusion} from './native_fusion.ts';
import {openNetwork} from './open_network.ts';

/** Options of `RepVGG.load()`. */
export interface LoadOptions {
  /** Default 'auto': a GPU if one is usable, else the CPU. Batches are distributed over a list of devices. */
  device?: DeviceName | DeviceList | undefined;
  /** Default 'auto': fp32 on the CPU, fp16 on a GPU. */
  precision?: Precision | undefined;
  /**
   * Calibration images for fp8, some dozens of the kind to be scored: an array, or a folder, list or tar, of which the first
   * 512 are used, or "digits". They run on the CPU in fp32 while the network is loaded.
   */
  calibration?: Calibration | undefined;
  /** The expected architecture, or an official name. Default: inferred from the checkpoint's shapes. */
  architecture?: string | Architecture | undefined;
  /**
   * Epsilon of the batch normalisations, which most checkpoints do not contain. Default: 1e-5, as in all classifiers; the RepVGG
   * blocks of YOLOv6 and YOLOv7 were trained with 1e-3. Ignored for a fused checkpoint.
   */
  eps?: number | undefined;
  /** 'deploy' (default) fuses the branches of a training checkpoint; 'train' runs them unfused. */
  form?: Form | undefined;
  /**
   * A label for each class, or a file with one per line. Default: those in timm's config.json beside the checkpoint, else ImageNet's
   * for 1000 classes, else the class indices.
   */
  labels?: string | readonly string[] | undefined;
  /** Overrides fields of the checkpoint's own preprocessing, or of the variant's published one. */
  preprocessing?: PreprocessingOptions | undefined;
  /**
   * Winograd's algorithms that compete with direct convolution, on any device; the fastest runs. 'f2' is F(2x2), 'f4' F(2x2) and
   * F(4x4), 'off' none. Default 'auto', by their errors: 'f4' in fp32, and 'f2' in fp16, bf16 and with squeeze-and-excite
   * (docs/kernels.md, "Which algorithms may run").
   */
  winograd?: Winograd | undefined;
  /** CPU threads. Default: one for every core that the process may use. */
  threads?: number | undefined;
  /** Images per batch; larger batches need more memory. Default 32. */
  batchSize?: number | undefined;
  /** Called during a download from the hub, with the bytes received and the total. */
  onProgress?: ((received: number, total: number) => void) | undefined;
  /** Aborts the call, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

const optionNames: FieldNames<LoadOptions> = {
  device: true,
  precision: true,
  calibration: true,
  architecture: true,
  eps: true,
  form: true,
  labels: true,
  preprocessing: true,
  winograd: true,
  threads: true,
  batchSize: true,
  onProgress: true,
  signal: true,
};

/** A network with its parameters set, and its description. */
export interface LoadedNetwork {
  network: NativeNetwork;
  architecture: Architecture;
  form: Form;
  device: Device;
  precision: Exclude<Precision, 'auto'>;
  winograd: Winograd;
  preprocessing: Preprocessing;
  labels: readonly ClassLabel[];
  batchSize: number;
  /** See `RepVGG.digest`. */
  digest: string;
}

/** More CPU threads than this are surely a mistake. */
const mostThreads = 1024;

/** Loads a network; see `RepVGG.load()`. */
export async function loadNetwork(checkpoint: string, options: LoadOptions): Promise<LoadedNetwork> {
  checkOptions(options, optionNames);
  const {device = 'auto', precision = 'auto', form = 'deploy', batchSize = 32, threads} = options;
  const {onProgress, signal} = options;
  if (form !== 'deploy' && form !== 'train') throw invalidArgument('form', '"deploy" or "train"', form);
  const {winograd = 'auto'} = options;
  if (!winogradClasses.includes(winograd)) {
    throw invalidArgument('winograd', winogradClasses.map(name => `"${name}"`).join(', '), winograd);
  }
  positiveInteger(batchSize, 'batchSize', mostImages);
  if (threads !== undefined) positiveInteger(threads, 'threads', mostThreads);
  checkPreprocessing(options.preprocessing);
  checkSignal(signal);
  signal?.throwIfAborted();
  const chosen = chooseDevice(device, precision, form);
  const calibration = checkCalibration(options.calibration, chosen.precision);

  const {architecture: expected, eps} = options;
  const digest = new ParameterDigest();
  await using opened = await openNetwork(checkpoint, {
    architecture: expected,
    ...{eps, signal, onProgress, digest},
  });
  const {architecture} = opened;
  if (calibration) checkFp8(architecture);
  const labels = await opened.labels(options.labels);
  const preprocessing = await opened.preprocessing(options.preprocessing);
  const fusion = new NativeFusion();
  const shape = toNativeShape(architecture, form, preprocessing);
  try {
    if (calibration) {
      const cpu = chooseDevice('cpu', 'fp32');
      // Without a choice of algorithms, which round differently, so that the ranges are reproducible.
      await using exact = disposing(
        await createNetwork(shape, cpu, {batchSize, winograd: 'off', ...(threads && {threads})}),
      );
      await setParameters(exact.network, opened.parameters(fusion), form, {signal, fusion});
      shape.ranges = await rangesOf(exact.network, calibration, {preprocessing, batchSize, signal});
      await digest.add('ranges', shape.ranges);
    }
    const network = await createNetwork(shape, chosen, {batchSize, winograd, ...(threads && {threads})});
    await setParameters(network, opened.parameters(fusion), form, {signal, fusion});
    return {
      network,
      architecture,
      form,
      device: chosen.device,
      precision: chosen.precision,
      winograd,
      preprocessing,
      labels,
      batchSize,
      digest: digest.value(opened.structure.eps),
    };
  } catch (error) {
    signal?.throwIfAborted();
    throw fromNative(error);
  } finally {
    fusion.close();
  }
}

/**
 * Sets a network's parameters block by block: one block is read and fused while the one before is packed, after which its
 * kernels are released. Disposes of the network on failure.
 */
export async function setParameters(
  network: NativeNetwork,
  parameters: NetworkParameters,
  form: Form,
  {signal, fusion = new NativeFusion()}: {signal?: AbortSignal | undefined; fusion?: NativeFusion} = {},
): Promise<void> {
  fusion.target = network;
  try {
    const linear = unwatched(parameters.linear()); // Read concurrently with the blocks.
    let packed: Promise<void> = Promise.resolve();
    for await (const block of parameters.blocks(form, signal)) {
      await packed;
      signal?.throwIfAborted(); // This block may have been read ahead.
      const given = toNativeBlock(block);
      packed = network.setBlock(block.shape.index, given).then(() => {
        for (const kernel of kernelsOf(given)) fusion.release(kernel);
      });
      unwatched(packed); // Awaited in the next turn, unless reading fails first.
    }
    await packed;
    const last = await linear;
    if (last) await network.setLinear(last);
    signal?.throwIfAborted();
  } catch (error) {
    await network.dispose();
    throw error;
  }
}

function kernelsOf(block: NativeBlock): Float32Array[] {
  return 'weight' in block ? [block.weight] : [block.dense.weight, block.pointwise.weight];
}
