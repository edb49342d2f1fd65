import {assetPath} from './assets.ts';
import type {Preprocessing} from './preprocessing.ts';

/** A network that is included in the package. */
export interface EmbeddedModel {
  checkpoint: string;
  labels: string;
  preprocessing: Preprocessing;
  /** A folder of held-out images, each named `NNNN-LABEL.png`. */
  images: string;
}

const asset = (path: string): string => assetPath(`digits/${path}`);

/**
 * The embedded network: a small RepVGG trained on the UCI handwritten digits (scripts/train_digits.py). "digits" refers to it
 * wherever a checkpoint is expected.
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
