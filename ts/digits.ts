import {assetPath} from './assets.ts';
import type {Preprocessing} from './preprocessing.ts';

/** A network that comes with the package, and how to use it. */
export interface EmbeddedModel {
  checkpoint: string;
  labels: string;
  preprocessing: Preprocessing;
  /** A folder of held-out images, each named `NNNN-LABEL.png`. */
  images: string;
}

const asset = (path: string): string => assetPath(`digits/${path}`);

/**
 * The embedded default: a small RepVGG trained on the UCI handwritten digits (scripts/train_digits.py). It has the name "digits"
 * wherever a checkpoint can be named.
 */
export const digits: EmbeddedModel = {
  checkpoint: asset('digits.pth'),
  labels: asset('labels.txt'),
  preprocessing: {
    resize: 32,
    crop: 32,
    interpolation: 'bilinear',
    squash: false,
    autoOrient: false,
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
  },
  images: asset('images'),
};
