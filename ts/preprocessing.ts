import type {Architecture} from './architecture.ts';
import {checkOptions} from './arguments.ts';
import {invalidArgument} from './errors.ts';

/** How resizing weighs pixels: triangle or Keys's cubic filter, both widened when shrinking, as Pillow does. */
export type Interpolation = 'bilinear' | 'bicubic';

/** How an image becomes the network's input: torchvision's Resize, CenterCrop, ToTensor and Normalize, in this order. */
export interface Preprocessing {
  /** The short side is resized to this many pixels, the long side to `int(resize * long / short)`; 0 leaves the size. */
  resize: number;
  /** Side of the centre crop in pixels, and so the network's input size. A smaller image is padded with zeros. */
  crop: number;
  interpolation: Interpolation;
  /**
   * Whether both sides are resized to `resize`, whatever their proportion: torchvision's `Resize((n, n))`, and timm's crop mode
   * "squash". Unless `resize` is given too, it is then that of `crop`, so that nothing is cut off.
   */
  squash: boolean;
  /** Whether an image is first turned as its EXIF orientation says, which torchvision does not do. */
  autoOrient: boolean;
  /** Subtracted per RGB channel from values of 0 to 1. */
  mean: readonly [number, number, number];
  /** Divides the result per RGB channel. */
  std: readonly [number, number, number];
}

/** The fields that are to differ from those of the variant. */
export type PreprocessingOptions = {[Field in keyof Preprocessing]?: Preprocessing[Field] | undefined};

/** Of a resized or cropped image, on a side. */
const mostPixels = 4096;
/** Bounds on mean and std: beyond them inputs are of no network, or overflow float32. */
const [least, most] = [1e-6, 1e6];

const imageNet: Preprocessing = {
  resize: 256,
  crop: 224,
  interpolation: 'bilinear',
  squash: false,
  autoOrient: false,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/** What the published accuracies of a variant were measured with: 224 pixels from 256, or 320 for the SE networks. */
export function defaultPreprocessing(architecture: Architecture): Preprocessing {
  return architecture.squeezeExcite ? {...imageNet, resize: 320, crop: 320} : {...imageNet};
}

/**
 * What a checkpoint says of its own preprocessing, and what its variant was published with where it says nothing. Where it
 * says the size of its input alone, images are resized in the proportion of the variant's.
 */
export function preprocessingOf(
  {preprocessing}: {preprocessing?: PreprocessingOptions | undefined},
  architecture: Architecture,
): Preprocessing {
  const defaults = defaultPreprocessing(architecture);
  const {crop = defaults.crop} = preprocessing ?? {};
  const resize = Math.min(mostPixels, Math.round((crop * defaults.resize) / defaults.crop));
  return completePreprocessing(preprocessing, {...defaults, resize});
}

/** Fills in the fields that are not given. */
export function completePreprocessing(
  options: PreprocessingOptions | undefined,
  defaults: Preprocessing,
): Preprocessing {
  const crop = options?.crop ?? defaults.crop;
  return {
    resize: options?.resize ?? (options?.squash ? crop : defaults.resize),
    crop,
    interpolation: options?.interpolation ?? defaults.interpolation,
    squash: options?.squash ?? defaults.squash,
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
  checkOptions(options, 'preprocessing');
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
  const numbers = (values: readonly number[] | undefined, name: string, from: number): void => {
    if (values === undefined) return;
    const valid =
      Array.isArray(values) &&
      values.length === 3 &&
      values.every(v => Number.isFinite(v) && v >= from && v <= most);
    if (!valid) throw invalidArgument(name, `three numbers from ${from} to ${most}`, values);
  };
  numbers(mean, 'preprocessing.mean', -most);
  numbers(std, 'preprocessing.std', least);
}
