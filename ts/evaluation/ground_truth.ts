import {readFile} from 'node:fs/promises';
import {basename} from 'node:path';
import {fileError, RepVGGError} from '../errors.ts';
import type {ClassLabel} from '../labels.ts';

/** The true classes of images that do not tell them. */
export interface GroundTruth {
  /** The class of an image, by its name; undefined where it is not in the list. */
  targetOf(id: string): number | undefined;
}

/**
 * Reads the true classes of ILSVRC 2012's validation images: a synset a line, in the order of the images' numbers, or lines of
 * a name and a synset, or of a name and a class number as in Caffe's val.txt. A list of bare numbers is refused, since those
 * of the devkit (ILSVRC2012_validation_ground_truth.txt) count the classes in another order than every network does.
 *
 * @throws {RepVGGError} ERR_DATASET, ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function readGroundTruth(path: string, labels: readonly ClassLabel[]): Promise<GroundTruth> {
  const text = await readFile(path, 'utf8').catch(cause => {
    throw fileError(`read ground truth ${path}`, cause);
  });
  const lines = text.split(/\r?\n/).filter(line => line.trim() !== '');
  const bySynset = new Map(labels.flatMap(({synset}, index) => (synset ? [[synset, index] as const] : [])));
  const fail = (problem: string): RepVGGError =>
    new RepVGGError('ERR_DATASET', `Cannot read ground truth ${path}: ${problem}.`);
  if (lines.length === 0) throw fail('it is empty');
  const targetOf = (token: string, i: number, mayBeNumber: boolean): number => {
    const target =
      bySynset.get(token) ?? (mayBeNumber && /^\d{1,9}$/.test(token) ? Number(token) : labels.length);
    if (target < labels.length) return target;
    throw fail(`line ${i + 1} has ${JSON.stringify(token.slice(0, 40))}, which is no class of the network`);
  };
  if (!/\s/.test(lines[0]!.trim())) {
    if (/^\d+$/.test(lines[0]!.trim()))
      throw fail(
        "its numbers are the devkit's, which are not the outputs of networks: take a list of synsets",
      );
    const targets = lines.map((line, i) => targetOf(line.trim(), i, false));
    return {targetOf: id => targets[imageNumber(id) - 1]};
  }
  const byName = new Map<string, number>();
  for (const [i, line] of lines.entries()) {
    const [name, token = ''] = line.trim().split(/\s+/);
    byName.set(basename(name!), targetOf(token, i, true));
  }
  return {targetOf: id => byName.get(basename(id))};
}

/** ILSVRC2012_val_00000293.JPEG is number 293, and n01440764_10026.JPEG of the training set none. */
export function imageNumber(id: string): number {
  return Number(/_val_(\d+)\.\w+$/.exec(basename(id))?.[1] ?? Number.NaN);
}
