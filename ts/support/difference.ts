/** How much an output of a network differs from another: NaN in either makes all of it NaN. */
export interface Difference {
  /** The sum of squared differences. */
  squared: number;
  /** Relative L2: the Euclidean norm of the difference over that of what is expected; 0 between equal ones. */
  relative: number;
  /** The largest absolute difference. */
  largest: number;
}

/** Compares logits or an embedding of one image, or of a batch, with those of another run. */
export function differenceOf(values: Float32Array, expected: Float32Array): Difference {
  let [squared, norm, largest] = [0, 0, 0];
  for (const [i, value] of expected.entries()) {
    const difference = values[i]! - value;
    squared += difference ** 2;
    norm += value ** 2;
    largest = Math.max(largest, Math.abs(difference));
  }
  return {squared, relative: squared === 0 ? 0 : Math.sqrt(squared / norm), largest};
}

/** The index of the largest value; of equal ones the first. */
export function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
}
