import {readFile} from 'node:fs/promises';
import {fileError, RepVGGError} from '../errors.ts';
import {imageNumber} from './ground_truth.ts';

/** All classes that are right for an image of ILSVRC 2012's validation set; none where the annotators found none. */
export type RealLabels = (id: string) => readonly number[];

/**
 * Reads `real.json` of "Are we done with ImageNet?" (https://arxiv.org/abs/2006.07159): an array of the right classes of
 * each validation image, in the order of the images' numbers.
 *
 * @returns a function that throws ERR_DATASET for what is no image of that set
 * @throws {RepVGGError} ERR_DATASET, ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function readRealLabels(path: string, numClasses: number): Promise<RealLabels> {
  const text = await readFile(path, 'utf8').catch(cause => {
    throw fileError(`read real labels ${path}`, cause);
  });
  const fail = (problem: string, cause?: unknown): RepVGGError =>
    new RepVGGError('ERR_DATASET', `Cannot read real labels ${path}: ${problem}.`, {cause});
  let labels: unknown;
  try {
    labels = JSON.parse(text);
  } catch (cause) {
    throw fail('it is no JSON', cause);
  }
  const isClass = (value: unknown): boolean =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) < numClasses;
  if (!Array.isArray(labels)) throw fail('expected an array with the classes of each image');
  const bad = labels.findIndex(classes => !(Array.isArray(classes) && classes.every(isClass)));
  if (bad >= 0) throw fail(`expected an array of class numbers below ${numClasses} for image ${bad + 1}`);
  const ofImages = labels as number[][];
  return id => {
    const classes = ofImages[imageNumber(id) - 1];
    if (classes) return classes;
    throw fail(`it has nothing about ${id}, only about ILSVRC2012_val_00000001 to ${ofImages.length}`);
  };
}
