import {readFile} from 'node:fs/promises';
import {assetPath} from './assets.ts';
import {fileError, invalidArgument, RepVGGError} from './errors.ts';

/** A class of a network. */
export interface ClassLabel {
  readonly label: string;
  /** The WordNet id of an ImageNet class, for example "n01440764". */
  readonly synset?: string;
}

let imageNet: readonly ClassLabel[] | undefined;

/** The 1000 classes of ImageNet-1k (ILSVRC 2012) sorted by synset, the order of all RepVGG checkpoints. */
export async function imageNetLabels(): Promise<readonly ClassLabel[]> {
  if (imageNet) return imageNet;
  const labels = lines(await readText(assetPath('imagenet.txt'))).map(line => ({
    synset: line.slice(0, line.indexOf(' ')),
    label: line.slice(line.indexOf(' ') + 1),
  }));
  imageNet ??= frozen(labels);
  return imageNet;
}

/** Labels that come with a checkpoint: an array, which was read from `labelsFile`, or a file. */
export interface OwnLabels {
  labels?: string | readonly string[] | undefined;
  labelsFile?: string | undefined;
}

/**
 * The labels of a network: those given (an array, or a file with one label per line or a JSON array of strings), else its own,
 * else ImageNet's for 1000 classes, else the class indices.
 *
 * @throws {RepVGGError} ERR_LABELS unless there is one string for each class; ERR_INVALID_ARGUMENT,
 *   ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function resolveLabels(
  chosen: string | readonly string[] | undefined,
  numClasses: number,
  own: OwnLabels = {},
): Promise<readonly ClassLabel[]> {
  const given = chosen === undefined ? own.labels : chosen;
  if (given === undefined) {
    if (numClasses === 1000) return imageNetLabels();
    return frozen(Array.from({length: numClasses}, (_, index) => ({label: String(index)})));
  }
  if (typeof given !== 'string' && !Array.isArray(given)) {
    throw invalidArgument('labels', 'an array of strings or the path of a file', given);
  }
  const labels = typeof given === 'string' ? await readLabels(given) : [...given];
  const fromFile = chosen === undefined ? own.labelsFile : undefined;
  const source = typeof given === 'string' ? given : (fromFile ?? 'labels');
  if (labels.length !== numClasses) {
    throw new RepVGGError(
      'ERR_LABELS',
      `Expected ${numClasses} labels in ${source}, one for each class, but received ${labels.length}.`,
    );
  }
  const bad = labels.findIndex(label => typeof label !== 'string');
  if (bad >= 0) {
    const message = `Expected a string for each label in ${source} but number ${bad} is ${typeof labels[bad]}.`;
    throw new RepVGGError('ERR_LABELS', message);
  }
  // A file has the names alone; ImageNet's classes are known by synset too.
  if (chosen === undefined && labels.length === 1000) {
    const published = await imageNetLabels();
    if (published.every(({label}, index) => label === labels[index])) return published;
  }
  return frozen(labels.map(label => ({label})));
}

/** Labels are shared with all results, so they must not be modified. */
function frozen(labels: ClassLabel[]): readonly ClassLabel[] {
  for (const label of labels) Object.freeze(label);
  return Object.freeze(labels);
}

async function readLabels(path: string): Promise<string[]> {
  const text = await readText(path);
  if (!/^\s*\[/.test(text)) return lines(text);
  try {
    return JSON.parse(text.trim()) as string[]; // trim() also removes a byte order mark.
  } catch (cause) {
    throw new RepVGGError(
      'ERR_LABELS',
      `Expected a JSON array of strings in ${path} but it does not parse.`,
      {cause},
    );
  }
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(cause => {
    throw fileError(`read labels ${path}`, cause);
  });
}

function lines(text: string): string[] {
  return text
    .replace(/\r?\n$/, '')
    .split('\n')
    .map(line => line.trim());
}
