import type {Dirent} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {basename, dirname, extname, join} from 'node:path';
import {digits} from '../digits.ts';
import {fileError, invalidArgument, RepVGGError} from '../errors.ts';
import {isImageName} from '../images/encoded_image.ts';
import type {ImageInput} from '../images/images.ts';
import type {ClassLabel} from '../labels.ts';
import {imagesBelow} from '../sources/folder.ts';
import type {SourceOptions} from '../sources/options.ts';
import type {SourceRecord, UnreadableRecord} from '../sources/record.ts';
import {openSource} from '../sources/source.ts';
import {classesByName, classNumbers, readClasses} from './class_numbers.ts';
import {type GroundTruth, readGroundTruth} from './ground_truth.ts';

/** An image and the class that it is. */
export interface Sample {
  id: string;
  image: ImageInput;
  /** The output of the network that should be the largest. */
  target: number;
}

/** An image whose class is not known, or a record that cannot be read. */
export interface Unusable {
  id: string;
  error: RepVGGError;
}

export interface DatasetOptions extends Omit<SourceOptions, 'root'> {
  /** A list of the true synsets of ILSVRC 2012's validation images, which do not tell their class. */
  groundTruth?: string | undefined;
  /** A list of the classes that count: images of others are left out, and none is taken for one of the others. */
  validLabels?: string | undefined;
}

export interface Dataset {
  /** Images, where they can be counted before they are read. */
  size: number | undefined;
  /** The classes that count, where not all do. */
  classes?: ReadonlySet<number> | undefined;
  samples(): AsyncIterable<Sample | Unusable>;
}

/**
 * Opens labelled images for a network with these classes: a folder with a folder for each class, or with such a folder
 * called "val" or "train", as torchvision's ImageFolder takes them: the folders' names in sorted order are the classes,
 * unless all are labels or synsets of the network, which then tell. Of other sources (a tar, a Parquet file, a table), a label is a class number, a synset, the name of a class, or in a tar the
 * folder that the image is in. "digits" is the embedded set.
 *
 * @throws {RepVGGError} ERR_DATASET when the number of class folders is not that of the network's classes, or there are
 *   none, and from the iteration when there are no images; ERR_FILE_NOT_FOUND, ERR_FILE_READ; from the iteration those of
 *   `openSource`
 */
export async function openDataset(
  path: string,
  labels: readonly ClassLabel[],
  {validLabels, ...options}: DatasetOptions = {},
): Promise<Dataset> {
  const classes = validLabels === undefined ? undefined : await readClasses(validLabels, labels);
  const dataset = await openAll(path, labels, options);
  if (!classes) return dataset;
  return {
    size: undefined,
    classes,
    async *samples() {
      let none = true;
      for await (const sample of dataset.samples()) {
        if ('target' in sample && !classes.has(sample.target)) continue;
        none = false;
        yield sample;
      }
      if (none)
        throw new RepVGGError(
          'ERR_DATASET',
          `Cannot evaluate on ${path}: no image is of a class in ${validLabels}.`,
        );
    },
  };
}

async function openAll(
  path: string,
  labels: readonly ClassLabel[],
  {groundTruth, ...source}: Omit<DatasetOptions, 'validLabels'>,
): Promise<Dataset> {
  const truth = groundTruth === undefined ? undefined : await readGroundTruth(groundTruth, labels);
  const kind = await stat(path).catch(() => undefined);
  if (!kind && path === 'digits') {
    checkNone(path, {groundTruth, ...source});
    return embeddedDigits();
  }
  const records = (): Records => openSource(path, source);
  if (truth) {
    const size = kind?.isDirectory() ? await countImages(path) : undefined;
    return labelled(path, records, truthTargets(truth), size);
  }
  if (!kind?.isDirectory()) return labelled(path, records, labelTargets(path, labels), undefined);
  checkNone(path, source);
  const root = await datasetRoot(path);
  const targets = await classFolders(root, labels);
  const classes = [...targets.keys()];
  const targetOf: Targets = ({label}) => targets.get(label!)!;
  const sizes = await Promise.all(classes.map(name => countImages(join(root, name))));
  const size = sizes.reduce((sum, images) => sum + images, 0);
  return labelled(root, () => imagesOfClasses(root, classes), targetOf, size);
}

/** Options that say where images and their classes are, which the names of folders and files say here. */
function checkNone(path: string, {groundTruth, format, imageColumn, labelColumn}: DatasetOptions): void {
  for (const [name, value] of Object.entries({groundTruth, format, imageColumn, labelColumn}))
    if (value !== undefined)
      throw invalidArgument(`${name} of ${path}`, 'no value, because its names tell the classes,', value);
}

type Records = AsyncIterable<SourceRecord | UnreadableRecord>;

/** As torchvision's ImageFolder, it follows links to class folders, and does not see what is in none. */
async function* imagesOfClasses(root: string, classes: readonly string[]): Records {
  for (const name of classes) yield* imagesBelow(join(root, name), [name]);
}

/** Where the class of a record comes from; an error's text where it cannot be told. */
type Targets = (record: {id: string; label?: string}) => number | string;

function labelled(
  path: string,
  records: () => Records,
  targetOf: Targets,
  size: number | undefined,
): Dataset {
  return {
    size,
    async *samples() {
      let none = true;
      for await (const record of records()) {
        none = false;
        if ('error' in record) {
          yield record;
          continue;
        }
        const target = targetOf(record);
        yield typeof target === 'number'
          ? {id: record.id, image: record.image, target}
          : {
              id: record.id,
              error: new RepVGGError('ERR_DATASET', `Cannot tell the class of ${record.id}: ${target}.`),
            };
      }
      if (none)
        throw new RepVGGError('ERR_DATASET', `Cannot evaluate on ${path}: there are no images in it.`);
    },
  };
}

/** The embedded images are called NNNN-LABEL.png. */
async function embeddedDigits(): Promise<Dataset> {
  const names = (await readdir(digits.images)).sort();
  return {
    size: names.length,
    async *samples() {
      for (const name of names) {
        const target = Number(name.slice(name.indexOf('-') + 1, -extname(name).length));
        yield {id: name, image: join(digits.images, name), target};
      }
    },
  };
}

/** Of ImageNet's root it is "val", as for the official test.py; else the folder itself. */
async function datasetRoot(path: string): Promise<string> {
  const folders = await foldersIn(path);
  const part = ['val', 'train'].find(name => folders.includes(name));
  return part ? join(path, part) : path;
}

async function foldersIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, {withFileTypes: true});
    const folders = await Promise.all(entries.map(entry => isFolder(path, entry)));
    const names = entries.filter((_, i) => folders[i]).map(({name}) => name);
    return names.filter(name => !name.startsWith('.')).sort();
  } catch (cause) {
    throw fileError(`read folder ${path}`, cause);
  }
}

/** A link to a folder counts as one: subsets of ImageNet, and its `val`, are often made of links. */
async function isFolder(path: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  // One that leads nowhere is none.
  return stat(join(path, entry.name)).then(
    stats => stats.isDirectory(),
    () => false,
  );
}

/**
 * The class of each folder: what its name is, if all are names of classes: they may be fewer, such as those of Imagenette or
 * ImageNet-R, and the network's order need not be theirs. Else its place, as ImageFolder has it, of as many as there are
 * classes.
 */
async function classFolders(root: string, labels: readonly ClassLabel[]): Promise<Map<string, number>> {
  const classes = await foldersIn(root);
  const byName = classesByName(labels);
  const areNames = classes.length > 0 && classes.every(name => byName.has(name));
  const asMany = classes.length === labels.length;
  // Numbers in place of labels are no names: to ImageFolder, which sorts texts, a folder "10" is class 2.
  const numbered = labels.every(({label}, index) => label === String(index));
  if (areNames && !(asMany && numbered)) return new Map(classes.map(name => [name, byName.get(name)!]));
  if (asMany) return new Map(classes.map((name, index) => [name, index]));
  const files = (await readdir(root)).filter(isImageName);
  if (classes.length === 0 && files.some(isFlatValidation)) throw flatValidation(root);
  const shown = classes.length > 3 ? `${classes.slice(0, 3).join(', ')}, ...` : classes.join(', ');
  const found = classes.length === 0 ? `none (and ${files.length} images)` : `${classes.length} (${shown})`;
  throw new RepVGGError(
    'ERR_DATASET',
    `Expected ${labels.length} class folders in ${root}, one for each class of the network, or some of them by synset or name, but found ${found}.`,
  );
}

function isFlatValidation(name: string): boolean {
  return /^ILSVRC2012_val_\d{8}\.JPEG$/i.test(basename(name));
}

/** The tar of the validation set has no folders, unlike that of the training set: most people fall for it once. */
function flatValidation(root: string): RepVGGError {
  return new RepVGGError(
    'ERR_DATASET',
    `Expected class folders in ${root} but found the images of ILSVRC2012_img_val.tar as they come, which do not tell ` +
      'their class: move them into folders by synset (the usual valprep.sh), or name the list of their synsets with --ground-truth.',
  );
}

function truthTargets(truth: GroundTruth): Targets {
  return ({id}) => truth.targetOf(id) ?? 'it is not in the list of the ground truth';
}

function labelTargets(path: string, labels: readonly ClassLabel[]): Targets {
  const targetOf = classNumbers(labels);
  return ({id, label = folderOf(path, id)}) => {
    const target = label === undefined ? undefined : targetOf(label);
    if (target !== undefined) return target;
    // Not 50,000 rows that all say so.
    if (isFlatValidation(id) && id.startsWith(`${path}/`)) throw flatValidation(path);
    if (label === undefined)
      return 'it has no label, and is in no folder (--label-column names the column of a table)';
    return `its label ${JSON.stringify(label)} is none of the ${labels.length} classes of the network (--labels gives them names)`;
  };
}

/** The folder of an image within a tar: "val.tar/n01440764/1.jpg" is in "n01440764". */
function folderOf(path: string, id: string): string | undefined {
  if (!id.startsWith(`${path}/`)) return undefined;
  const folder = basename(dirname(id.slice(path.length + 1)));
  return folder === '.' ? undefined : folder;
}

async function countImages(folder: string): Promise<number> {
  let count = 0;
  for await (const _ of imagesBelow(folder, [])) count++;
  return count;
}
