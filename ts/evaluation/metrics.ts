import {argmax} from '../support/difference.ts';

/** How well the logits of one image agree with its class. */
export interface Outcome {
  /** The likeliest class. */
  predicted: number;
  /** How many classes are likelier than the right one. */
  rank: number;
  /** Cross-entropy: -log of the class's softmax probability. */
  loss: number;
}

/** Equal logits count in the order of their classes. Logits that are not finite are wrong, and their loss is NaN. */
export function outcomeOf(logits: Float32Array, target: number): Outcome {
  const predicted = argmax(logits);
  const own = logits[target]!;
  const largest = logits[predicted]!;
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return {predicted, rank: rankOf(logits, target), loss: Math.log(sum) - (own - largest)};
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

/** Images, and how many of them were told right: percentages, 0 of none. */
export class Counts {
  images = 0;
  #correct = 0;
  #correct5 = 0;

  /** @param rank how many classes are likelier than the right one */
  add(rank: number): void {
    this.images++;
    this.#correct += Number(rank === 0);
    this.#correct5 += Number(rank < 5);
  }

  get top1(): number {
    return (100 * this.#correct) / (this.images || 1);
  }

  get top5(): number {
    return (100 * this.#correct5) / (this.images || 1);
  }
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
