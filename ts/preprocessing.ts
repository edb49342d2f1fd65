import type {Architecture} from './architecture.ts';
import {invalidArgument} from './errors.ts';

export type Interpolation = 'bilinear' | 'bicubic';

/** How an image becomes the network's input: torchvision's Resize, CenterCrop, ToTensor and Normalize, in this order. */
export interface Preprocessing {
  /** The short side is resized to this many pixels, the long side to `int(resize * long / short)`; 0 leaves the size. */
  resize: number;
  /** Side of the centre crop in pixels, and so the network's input size. A smaller image is padded with zeros. */
  crop: number;
  interpolation: Interpolation;
  /** Subtracted per RGB channel from values of 0 to 1. */
  mean: readonly [number, number, number];
  /** Divides the result per RGB channel. */
  std: readonly [number, number, number];
}

const imageNet: Preprocessing = {
  resize: 256,
  crop: 224,
  interpolation: 'bilinear',
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/** What the published accuracies of a variant were measured with: 224 pixels from 256, or 320 for the SE networks. */
export function defaultPreprocessing(architecture: Architecture): Preprocessing {
  return architecture.squeezeExcite ? {...imageNet, resize: 320, crop: 320} : {...imageNet};
}

/**
 * Checks every field that is given.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export function checkPreprocessing(options: Partial<Preprocessing>): void {
  const {resize, crop, interpolation, mean, std} = options;
  const size = (value: number | undefined, name: string, least: number): void => {
    if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= 4096)) {
      throw invalidArgument(name, `an integer from ${least} to 4096`, value);
    }
  };
  size(resize, 'preprocessing.resize', 0);
  size(crop, 'preprocessing.crop', 1);
  if (interpolation !== undefined && interpolation !== 'bilinear' && interpolation !== 'bicubic') {
    throw invalidArgument('preprocessing.interpolation', '"bilinear" or "bicubic"', interpolation);
  }
  for (const [values, name] of [
    [mean, 'preprocessing.mean'],
    [std, 'preprocessing.std'],
  ] as const) {
    if (values === undefined) continue;
    const valid = Array.isArray(values) && values.length === 3 && values.every(Number.isFinite);
    if (!valid || (name === 'preprocessing.std' && values.some(v => v <= 0))) {
      throw invalidArgument(name, `three ${name === 'preprocessing.std' ? 'positive ' : ''}numbers`, values);
    }
  }
}
