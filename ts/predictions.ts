/** One of the likeliest classes of an image. */
export interface Prediction {
  index: number;
  label: string;
  /** Softmax probability; NaN where the logits are not finite, as when activations exceed what the precision can hold. */
  score: number;
}
