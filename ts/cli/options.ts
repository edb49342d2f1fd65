import {type Command, InvalidArgumentError, Option} from 'commander';
import {type DeviceList, type DeviceName, type Precision, precisions} from '../device.ts';
import {type Winograd, winogradClasses} from '../native.ts';
import type {Form} from '../network.ts';
import type {Interpolation, Preprocessing, PreprocessingOptions} from '../preprocessing.ts';
import {type SourceFormat, sourceFormats} from '../sources/options.ts';

/** Exit codes. 0 is success. */
export const exitCode = {rowsFailed: 1, usage: 2, failure: 3} as const;

export function positiveInteger(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('Expected a positive integer.');
  return Number(value);
}

/** Of a file to write, so that no image or checkpoint can be named in its place and is lost. */
export function endsIn(ending: string): (value: string) => string {
  return value => {
    if (value.toLowerCase().endsWith(ending)) return value;
    throw new InvalidArgumentError(`Expected a file that ends in ${ending}.`);
  };
}

/** The distinct names in "a,b". */
export function list(value: string): string[] {
  const names = value.split(',').map(name => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('Expected names separated by commas.');
  return [...new Set(names)];
}

export function positiveNumber(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number < Infinity)) throw new InvalidArgumentError('Expected a positive number.');
  return number;
}

function pixels(value: string): number {
  if (!/^\d{1,4}$/.test(value) || Number(value) > 4096)
    throw new InvalidArgumentError('Expected a number of pixels up to 4096.');
  return Number(value);
}

function channels(value: string): Preprocessing['mean'] {
  const numbers = value.split(',').map(part => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.length !== 3 || !numbers.every(Number.isFinite))
    throw new InvalidArgumentError('Expected three numbers with commas between, as in 0.5,0.5,0.5.');
  return numbers as unknown as Preprocessing['mean'];
}

export const jsonOption = (): Option => new Option('--json', 'print JSON, for programs');

export const architectureOption = (): Option =>
  new Option(
    '-a, --architecture <name>',
    'fail unless the checkpoint is this variant, such as RepVGG-A0 (default: any)',
  );

export const epsOption = (): Option =>
  new Option(
    '--eps <x>',
    'epsilon of the batch normalisations: 1e-3 for blocks of YOLOv6 and v7 (default: 1e-5)',
  ).argParser(positiveNumber);

export const deviceOption = (): Option =>
  new Option('--device <name>', 'auto, cpu, cuda or cuda:N; cuda:0,cuda:1 spreads batches over both')
    .default('auto' satisfies DeviceName)
    .argParser(parseDevice);

/** Also of the names that results have. */
export function parseDevice(value: string): DeviceName | DeviceList {
  return (value.includes(',') ? value.split(',') : value) as DeviceName | DeviceList;
}

export const precisionOption = (): Option =>
  new Option('--precision <name>', 'arithmetic of the network').choices(precisions).default('auto');

export const calibrationOption = (): Option =>
  new Option(
    '--calibration <source>',
    'images that fp8 is calibrated with: a folder, list, table or tar, or "digits"',
  );

const winogradOption = (): Option =>
  new Option('--winograd <class>', "Winograd's algorithms to choose from; F(2x2) is more precise than F(4x4)")
    .choices(winogradClasses)
    .default('auto' satisfies Winograd);

export const formOption = (): Option =>
  new Option('--form <form>', 'run the fused network, or the branches as trained')
    .choices(['deploy', 'train'] satisfies Form[])
    .default('deploy');

export const threadsOption = (): Option =>
  new Option('--threads <n>', 'CPU threads (default: every core)').argParser(positiveInteger);

export const batchSizeOption = (size = 32): Option =>
  new Option('-b, --batch-size <n>', 'images in a batch').default(size).argParser(positiveInteger);

export const preprocessingOptions = (): Option[] => [
  new Option(
    '--resize <pixels>',
    "short side after resizing; 0 keeps the size (default: the variant's, or to fit --crop)",
  ).argParser(pixels),
  new Option('-r, --crop <pixels>', "side of the centre crop (default: the variant's)").argParser(pixels),
  new Option('--interpolation <name>', 'how to resize (default: bilinear)').choices([
    'bilinear',
    'bicubic',
  ] satisfies Interpolation[]),
  new Option('--auto-orient', 'apply the EXIF orientation, which torchvision ignores'),
  new Option(
    '--mean <r,g,b>',
    'subtracted from values of 0 to 1 (default: 0.485,0.456,0.406, as of ImageNet)',
  ).argParser(channels),
  new Option('--std <r,g,b>', 'divides what remains (default: 0.229,0.224,0.225, as of ImageNet)').argParser(
    channels,
  ),
];

export type PreprocessingFlags = Partial<Preprocessing>;

/** Takes the flags of the preprocessing out of a command's, and has the fields that were given in their place. */
export function takePreprocessing<Flags extends PreprocessingFlags>(
  flags: Flags,
): Omit<Flags, keyof Preprocessing> & {preprocessing: PreprocessingOptions} {
  const {resize, crop, interpolation, autoOrient, mean, std, ...others} = flags;
  return {...others, preprocessing: toPreprocessing(flags)};
}

/**
 * The fields that were given. A crop alone brings its resize with it, as `-r` of the official test.py does: 256 for 224,
 * else its own size. Otherwise a large crop would reach over the edge of the image, and a small one see little of it.
 */
export function toPreprocessing({
  resize,
  crop,
  interpolation,
  autoOrient,
  mean,
  std,
}: PreprocessingFlags): PreprocessingOptions {
  return {resize: resize ?? (crop === 224 ? 256 : crop), crop, interpolation, autoOrient, mean, std};
}

/** The options of commands that run one network over images. */
export interface NetworkFlags extends PreprocessingFlags {
  checkpoint?: string;
  architecture?: string;
  eps?: number;
  labels?: string;
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  calibration?: string;
  winograd: Winograd;
  batchSize: number;
  threads?: number;
}

export function addNetworkOptions(command: Command, {batchSize}: {batchSize?: number} = {}): void {
  command
    // Not requiredOption(): commander would ask for it before it looks at misspelt ones.
    .option(
      '-c, --checkpoint <file>',
      'a checkpoint, "owner/name" of the Hugging Face hub, or "digits" (required)',
    )
    .addOption(architectureOption())
    .addOption(epsOption())
    .option('--labels <file>', 'one label a line, or a JSON array (default: ImageNet for 1000 classes)')
    .addOption(formOption())
    .addOption(deviceOption())
    .addOption(precisionOption())
    .addOption(calibrationOption())
    .addOption(winogradOption());
  for (const option of preprocessingOptions()) command.addOption(option);
  command.addOption(batchSizeOption(batchSize)).addOption(threadsOption());
}

/** What a source is, in place of what its name says, and where it has its images and their classes. */
export interface SourceFlags {
  format?: SourceFormat;
  imageColumn?: string;
  labelColumn?: string;
}

export function addSourceOptions(command: Command, formats: readonly SourceFormat[]): void {
  command
    .addOption(
      new Option('--format <format>', 'what the source is (default: as its name ends)').choices(formats),
    )
    .option(
      '--image-column <name>',
      'of paths, URLs or bytes (default: image, path, file, filename, url or uri); in a tar the ending, as input.jpg',
    )
    .option('--label-column <name>', 'of the known class (default: label)');
}

/** The formats whose images may have a class. */
export const labelledFormats: readonly SourceFormat[] = sourceFormats.filter(format => format !== 'image');

export function needCheckpoint(checkpoint: string | undefined, command: Command): string {
  return checkpoint ?? command.error("error: required option '-c, --checkpoint <file>' not specified");
}
