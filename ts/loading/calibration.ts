import {type Architecture, blockShapes} from '../architecture.ts';
import {digits} from '../digits.ts';
import {invalidArgument, RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images/images.ts';
import type {NativeNetwork, NativeNetworkShape} from '../native/addon.ts';
import {isFp8, type Precision} from '../native/device.ts';
import {type RunBatchesOptions, runBatches} from '../scoring/run_batches.ts';
import {openSource} from '../sources/source.ts';

/** Calibration images for fp8: an array, a source for {@link openSource}, of which the first 512 images are used, or "digits". */
export type Calibration = readonly ImageInput[] | string;

/** More images make no measurable difference, and take minutes on a large network. */
const mostCalibrationImages = 512;
/** Channels per group must be a multiple of this, since TMA copies 16 bytes at a time. */
const groupMultiple = 16;

/**
 * Checks that an architecture can run in fp8: without squeeze-and-excite, and with suitable numbers of channels.
 *
 * @throws {RepVGGError} ERR_PRECISION_UNSUPPORTED
 */
export function checkFp8(architecture: Architecture): void {
  const refuse = (why: string): RepVGGError =>
    new RepVGGError('ERR_PRECISION_UNSUPPORTED', `fp8 ${why}: use "fp16", or on the CPU "bf16" or "fp32".`);
  if (architecture.squeezeExcite) throw refuse('has no squeeze-and-excite');
  const [, ...blocks] = blockShapes(architecture);
  for (const {inChannels, outChannels, groups} of blocks) {
    const odd = [inChannels, outChannels].find(channels => channels % (groupMultiple * groups) !== 0);
    if (odd !== undefined)
      throw refuse(`takes multiples of ${groupMultiple} channels in a group, not ${odd / groups}`);
  }
}

/**
 * The images that a precision is calibrated with: fp8 alone is.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export function checkCalibration(
  calibration: Calibration | undefined,
  precision: Precision,
): Calibration | undefined {
  if (!isFp8(precision)) {
    if (calibration === undefined) return undefined;
    const expected = 'no images, which only the precisions "fp8" and "fp8-simulated" take,';
    throw invalidArgument('calibration', expected, calibration);
  }
  const given = typeof calibration === 'string' ? calibration !== '' : (calibration?.length ?? 0) > 0;
  if (given && (typeof calibration === 'string' || Array.isArray(calibration))) return calibration!;
  throw invalidArgument(
    'calibration',
    'images, or a folder, list or archive of them, from which fp8 learns how large the values are,',
    calibration,
  );
}

/**
 * The largest value of each channel of each block's output over the images, block after block, from which fp8 derives the
 * scales of activations. The result does not depend on the order of the images or on how they are batched.
 *
 * @param network a network in fp32 on the CPU, with its parameters set
 * @throws {RepVGGError} the error of the first image that cannot be read; ERR_SOURCE for a source without images;
 *   ERR_PRECISION_UNSUPPORTED if activations are not finite
 */
export async function rangesOf(
  network: NativeNetwork,
  calibration: Calibration,
  options: Pick<RunBatchesOptions<ImageInput>, 'preprocessing' | 'batchSize' | 'signal'>,
): Promise<Float32Array> {
  let ranges: Float32Array | undefined;
  const images = typeof calibration === 'string' ? imagesOf(calibration, options.signal) : calibration;
  const batches = runBatches(
    images,
    image => image,
    {...options, devices: 1},
    async (batch, cancel) => {
      const own = await network.run(batch, 'ranges', cancel);
      ranges = ranges?.map((range, channel) => Math.max(range, own[channel]!)) ?? own;
      return () => undefined;
    },
    error => {
      throw error;
    },
  );
  for await (const _ of batches);
  if (!ranges) throw new RepVGGError('ERR_SOURCE', `Cannot calibrate with ${calibration}: it has no images.`);
  if (!ranges.every(Number.isFinite)) {
    const message = 'Cannot calibrate fp8: values of the network are not finite, even in fp32.';
    throw new RepVGGError('ERR_PRECISION_UNSUPPORTED', message);
  }
  return ranges;
}

/** Ranges for networks of random weights, which are scaled to such activations. */
export function typicalRanges({blocks}: NativeNetworkShape): Float32Array {
  return new Float32Array(blocks.reduce((sum, {outChannels}) => sum + outChannels, 0)).fill(4);
}

async function* imagesOf(source: string, signal?: AbortSignal): AsyncGenerator<ImageInput> {
  let count = 0;
  for await (const record of openSource(source === 'digits' ? digits.images : source, {signal})) {
    if ('error' in record) throw record.error;
    yield record.image;
    if (++count === mostCalibrationImages) return;
  }
}
