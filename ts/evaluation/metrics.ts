import {argmax} from '../support/difference.ts';

/** How well the logits of one image agree with its class. */
export interface Outcome {
  /** The likeliest class. */
  predicted: number;
  correct: boolean;
  /** Whether the class is among the five likeliest. */
  correct5: boolean;
  /** Cross-entropy: -log of the class's softmax probability. */
  loss: number;
}

/** Equal logits count in the order of their classes. Logits that are not finite are wrong, and their loss is NaN. */
export function outcomeOf(logits: Float32Array, target: number): Outcome {
  const predicted = argmax(logits);
  const own = logits[target]!;
  const rank = rankOf(logits, target);
  const largest = logits[predicted]!;
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return {predicted, correct: rank === 0, correct5: rank < 5, loss: Math.log(sum) - (own - largest)};
}

/** How many classes are likelier than this one. */
export function rankOf(logits: Float32Array, target: number): number {
  const own = logits[target]!;
  let rank = 0;
  for (const [index, value] of logits.entries()) {
    // Written so that NaN comes before everything.
    if (index !== target && !(value < own || (value === own && index > target))) rank++;
  }
  return rank;
}

/** The last value and the average of all, weighted by the images of each batch. */
export class Meter {
  value = 0;
  #sum = 0;
  #count = 0;

  add(value: number, images: number): void {
    this.value = value;
    this.#sum += value * images;
    this.#count += images;
  }

  get average(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }
}
