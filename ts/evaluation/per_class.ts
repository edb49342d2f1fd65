/** How well a class is told from the others. Percentages; what would be divided by 0 is 0, as in scikit-learn. */
export interface Averages {
  /** Of the images that were taken for the class, those that are of it. */
  precision: number;
  /** Of the images of the class, those that were taken for it: its own accuracy. */
  recall: number;
  /** The harmonic mean of both. */
  f1: number;
}

export interface ClassMetrics extends Averages {
  /** That are of the class, its "support". */
  images: number;
  /** Images that were taken for it. */
  predictions: number;
}

/** @param confusion [true class][predicted class], images */
export function classMetrics(confusion: readonly Uint32Array[]): ClassMetrics[] {
  return confusion.map((row, index) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    const predictions = confusion.reduce((sum, other) => sum + other[index]!, 0);
    const share = (of: number): number => (of === 0 ? 0 : (100 * row[index]!) / of);
    const [precision, recall, f1] = [share(predictions), share(images), share((images + predictions) / 2)];
    return {images, predictions, precision, recall, f1};
  });
}

/** Whether a class is that of an image, or an image was taken for it. */
export function occurs({images, predictions}: ClassMetrics): boolean {
  return images + predictions > 0;
}

/** The means over the classes that occur: scikit-learn's "macro" averages. */
export function macroAverages(classes: readonly ClassMetrics[]): Averages {
  const occurring = classes.filter(occurs);
  const mean = (field: keyof Averages): number =>
    occurring.reduce((sum, metrics) => sum + metrics[field], 0) / (occurring.length || 1);
  return {precision: mean('precision'), recall: mean('recall'), f1: mean('f1')};
}
