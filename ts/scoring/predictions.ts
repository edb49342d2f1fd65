/** A predicted class of an image. */
export interface Prediction {
  index: number;
  label: string;
  /** Softmax probability; NaN if the logits are not finite, as when activations overflow the precision. */
  score: number;
}
