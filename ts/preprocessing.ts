import type {Architecture} from './architecture.ts';
import {invalidArgument} from './errors.ts';
import {checkOptions} from './support/arguments.ts';

/** The resampling filter: triangle or Keys's cubic, both widened for downscaling (antialiased), as in Pillow. */
export type Interpolation = 'bilinear' | 'bicubic';

/** How an image becomes the network's input: by torchvision's Resize, CenterCrop, ToTensor and Normalize, in this order. */
export interface Preprocessing {
  /** The short side is resized to this many pixels, the long side to `int(resize * long / short)`; 0 keeps the size. */
  resize: number;
  /** Side of the centre crop in pixels, and so the network's input size. A smaller image is padded with zeros. */
  crop: number;
  interpolation: Interpolation;
  /**
   * Whether both sides are resized to `resize` without keeping the aspect ratio: torchvision's `Resize((n, n))` and timm's crop
   * mode "squash". `resize` then defaults to `crop`, so that nothing is cut off.
   */
  squash: boolean;
  /** Whether the EXIF orientation is applied first, which torchvision does not do. */
  autoOrient: boolean;
  /** Subtracted per RGB channel from values in [0, 1]. */
  mean: readonly [number, number, number];
  /** Divisor of the result per RGB channel. */
  std: readonly [number, number, number];
}

/** Fields of {@link Preprocessing} to override. `crop` alone also sets `resize`: to 256 for 224, otherwise to the crop itself. */
export type PreprocessingOptions = {[Field in keyof Preprocessing]?: Preprocessing[Field] | undefined};

/** The largest side of a resized or cropped image. */
const mostPixels = 4096;
/** Pixel values are 0 to 1, so a larger mean is one of values of 0 to 255, as mmpretrain has them: 123.675. */
const mostMean = 1;
/** Beyond these bounds, inputs are implausible or overflow float32. */
const [leastStd, mostStd] = [1e-6, 1e6];

const imageNet: Preprocessing = {
  resize: 256,
  crop: 224,
  interpolation: 'bilinear',
  squash: false,
  autoOrient: false,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/** The preprocessing of a variant's published accuracy: a crop of 224 from 256 pixels, or 320 for networks with squeeze-and-excite. */
export function defaultPreprocessing(architecture: Architecture): Preprocessing {
  return architecture.squeezeExcite ? {...imageNet, resize: 320, crop: 320} : {...imageNet};
}

/**
 * The preprocessing that a checkpoint states, completed by that of its variant. If it states the input size only, images are
 * resized in the variant's ratio of resize to crop.
 */
export function preprocessingOf(
  {preprocessing}: {preprocessing?: PreprocessingOptions | undefined},
  architecture: Architecture,
): Preprocessing {
  const defaults = defaultPreprocessing(architecture);
  const {crop = defaults.crop, squash} = preprocessing ?? {};
  const inRatio = Math.min(mostPixels, Math.round((crop * defaults.resize) / defaults.crop));
  return completePreprocessing(
    {...preprocessing, resize: preprocessing?.resize ?? (squash ? crop : inRatio)},
    defaults,
  );
}

/**
 * Completes options with defaults. A crop alone implies a resize, as `-r` of the official test.py does: 256 for 224, else the size of
 * the crop. With the default resize, a large crop would exceed the image and a small one would cover little of it.
 */
export function completePreprocessing(
  options: PreprocessingOptions | undefined,
  defaults: Preprocessing,
): Preprocessing {
  const crop = options?.crop ?? defaults.crop;
  const squash = options?.squash ?? defaults.squash;
  const implied = options?.crop === 224 && !squash ? 256 : crop;
  const resized = options?.crop !== undefined || options?.squash;
  return {
    resize: options?.resize ?? (resized ? implied : defaults.resize),
    crop,
    interpolation: options?.interpolation ?? defaults.interpolation,
    squash,
    autoOrient: options?.autoOrient ?? defaults.autoOrient,
    mean: options?.mean ?? defaults.mean,
    std: options?.std ?? defaults.std,
  };
}

/**
 * Checks every field that is given.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export function checkPreprocessing(options: PreprocessingOptions = {}): void {
  checkOptions(options, imageNet, 'preprocessing');
  const {resize, crop, interpolation, mean, std} = options;
  const size = (value: number | undefined, name: string, least: number): void => {
    if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= mostPixels)) {
      throw invalidArgument(name, `an integer from ${least} to ${mostPixels}`, value);
    }
  };
  size(resize, 'preprocessing.resize', 0);
  size(crop, 'preprocessing.crop', 1);
  if (interpolation !== undefined && interpolation !== 'bilinear' && interpolation !== 'bicubic') {
    throw invalidArgument('preprocessing.interpolation', '"bilinear" or "bicubic"', interpolation);
  }
  for (const name of ['squash', 'autoOrient'] as const) {
    const value = options[name];
    if (value !== undefined && typeof value !== 'boolean')
      throw invalidArgument(`preprocessing.${name}`, 'true or false', value);
  }
  const numbers = (values: readonly number[] | undefined, name: string, from: number, to: number): void => {
    if (values === undefined) return;
    const valid =
      Array.isArray(values) &&
      values.length === 3 &&
      values.every(v => Number.isFinite(v) && v >= from && v <= to);
    if (valid) return;
    throw invalidArgument(name, `three numbers from ${from} to ${to} (pixel values are 0 to 1)`, values);
  };
  numbers(mean, 'preprocessing.mean', -mostMean, mostMean);
  numbers(std, 'preprocessing.std', leastStd, mostStd);
}
