import {type Command, InvalidArgumentError, Option} from 'commander';
import {type Winograd, winogradClasses} from '../native/addon.ts';
import {type DeviceList, type DeviceName, type Precision, precisions} from '../native/device.ts';
import type {Form} from '../network.ts';
import type {Interpolation, Preprocessing, PreprocessingOptions} from '../preprocessing.ts';
import {type SourceFormat, sourceFormats} from '../sources/options.ts';

/** Exit codes. 0 is success. */
export const exitCode = {rowsFailed: 1, usage: 2, failure: 3} as const;

export function parsePositiveInteger(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('Expected a positive integer.');
  return Number(value);
}

/** Fails if one of these options, which would be ignored, is given: "option '-k, --top-k <k>' needs '--rows'". */
export function refuseIgnored(command: Command, names: readonly string[], why: string): void {
  for (const option of command.options) {
    const name = option.attributeName();
    if (!names.includes(name) || command.getOptionValueSource(name) !== 'cli') continue;
    command.error(`error: option '${option.flags}' ${why}`);
  }
}

/** The endings of files to write that keep labels and preprocessing. */
const keepsUse = /\.(onnx|safetensors)$/i;

/** The options `labels` and `preprocessing` of a file to write. Fails if one is given and the file has no place for it. */
export function takeUse(
  command: Command,
  to: string,
  flags: PreprocessingFlags & {labels?: string},
): {labels?: string; preprocessing?: PreprocessingOptions} {
  if (keepsUse.test(to)) return takePreprocessing(flags);
  refuseIgnored(command, Object.keys(flags), `applies only to .onnx and .safetensors files, not to '${to}'`);
  return {};
}

/** For files to write: protects an image or checkpoint given by mistake from being overwritten. */
export function endsIn(ending: string): (value: string) => string {
  return value => {
    if (value.toLowerCase().endsWith(ending)) return value;
    throw new InvalidArgumentError(`Expected a file that ends in ${ending}.`);
  };
}

/** The distinct values in "a,b". */
export function list(value: string): string[] {
  const names = value.split(',').map(name => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('Expected values separated by commas.');
  return [...new Set(names)];
}

export function parsePositiveNumber(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number < Infinity)) throw new InvalidArgumentError('Expected a positive number.');
  return number;
}

function pixels(value: string): number {
  if (!/^\d{1,4}$/.test(value) || Number(value) > 4096)
    throw new InvalidArgumentError('Expected a number of pixels from 0 to 4096.');
  return Number(value);
}

function channels(value: string): Preprocessing['mean'] {
  const numbers = value.split(',').map(part => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.length !== 3 || !numbers.every(Number.isFinite))
    throw new InvalidArgumentError('Expected three numbers separated by commas, such as 0.5,0.5,0.5.');
  return numbers as unknown as Preprocessing['mean'];
}

export const jsonOption = (): Option => new Option('--json', 'print JSON');

export const architectureOption = (): Option =>
  new Option(
    '-a, --architecture <name>',
    'fail unless the checkpoint is of this variant, such as RepVGG-A0 (default: any)',
  );

export const epsOption = (): Option =>
  new Option(
    '--eps <x>',
    'epsilon of the batch normalisations; 1e-3 for blocks of YOLOv6 and YOLOv7 (default: 1e-5)',
  ).argParser(parsePositiveNumber);

export const labelsOption = (): Option =>
  new Option(
    '--labels <file>',
    "file with one label per line, or a JSON array (default: the checkpoint's, else ImageNet's for 1000 classes)",
  );

export const deviceOption = (): Option =>
  new Option('--device <name>', 'auto, cpu, cuda or cuda:N; cuda:0,cuda:1 spreads batches over both')
    .default('auto' satisfies DeviceName)
    .argParser(parseDevice);

/** Also parses the device names in results of bench. */
export function parseDevice(value: string): DeviceName | DeviceList {
  return (value.includes(',') ? value.split(',') : value) as DeviceName | DeviceList;
}

export const precisionOption = (): Option =>
  new Option('--precision <name>', 'arithmetic of the network').choices(precisions).default('auto');

export const calibrationOption = (): Option =>
  new Option(
    '--calibration <source>',
    'images to calibrate fp8 with: a folder, list, table or tar, or "digits"',
  );

const winogradOption = (): Option =>
  new Option(
    '--winograd <class>',
    'Winograd algorithms that may replace direct convolution; F(2x2) is more precise than F(4x4)',
  )
    .choices(winogradClasses)
    .default('auto' satisfies Winograd);

export const formOption = (): Option =>
  new Option('--form <form>', 'run the fused network, or the branches as trained')
    .choices(['deploy', 'train'] satisfies Form[])
    .default('deploy');

export const threadsOption = (): Option =>
  new Option('--threads <n>', 'CPU threads (default: all cores)').argParser(parsePositiveInteger);

export const batchSizeOption = (size = 32): Option =>
  new Option('-b, --batch-size <n>', 'images per batch').default(size).argParser(parsePositiveInteger);

export const cropOption = (): Option =>
  new Option('-r, --crop <pixels>', "side of the centre crop (default: the variant's)").argParser(pixels);

export const preprocessingOptions = (): Option[] => [
  new Option(
    '--resize <pixels>',
    "shorter side after resizing; 0 keeps the size (default: the variant's, or to fit --crop)",
  ).argParser(pixels),
  cropOption(),
  new Option('--interpolation <name>', 'interpolation for resizing (default: bilinear)').choices([
    'bilinear',
    'bicubic',
  ] satisfies Interpolation[]),
  new Option(
    '--squash',
    'resize both sides, to --crop if --resize is not given, instead of cropping in proportion',
  ),
  new Option('--auto-orient', 'apply the EXIF orientation, which torchvision ignores'),
  new Option(
    '--mean <r,g,b>',
    "subtracted from values from 0 to 1 (default: ImageNet's 0.485,0.456,0.406)",
  ).argParser(channels),
  new Option('--std <r,g,b>', "divides the difference (default: ImageNet's 0.229,0.224,0.225)").argParser(
    channels,
  ),
];

export type PreprocessingFlags = Partial<Preprocessing>;

/** Replaces the preprocessing flags of a command by a `preprocessing` object. */
export function takePreprocessing<Flags extends PreprocessingFlags>(
  flags: Flags,
): Omit<Flags, keyof Preprocessing> & {preprocessing: PreprocessingOptions} {
  const {resize, crop, interpolation, squash, autoOrient, mean, std, ...others} = flags;
  return {...others, preprocessing: {resize, crop, interpolation, squash, autoOrient, mean, std}};
}

/** Options of commands that run one network over images. */
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
    // Not requiredOption(): commander would report it as missing before it reports a misspelt one.
    .option(
      '-c, --checkpoint <file>',
      'a checkpoint, "owner/name" on the Hugging Face Hub, or "digits" (required)',
    )
    .addOption(architectureOption())
    .addOption(epsOption())
    .addOption(labelsOption())
    .addOption(formOption())
    .addOption(deviceOption())
    .addOption(precisionOption())
    .addOption(calibrationOption())
    .addOption(winogradOption());
  for (const option of preprocessingOptions()) command.addOption(option);
  command.addOption(batchSizeOption(batchSize)).addOption(threadsOption());
}

/** The format of a source and its columns. */
export interface SourceFlags {
  format?: SourceFormat;
  imageColumn?: string;
  labelColumn?: string;
}

export function addSourceOptions(command: Command, formats: readonly SourceFormat[]): void {
  command
    .addOption(
      new Option('--format <format>', 'format of the source (default: by extension)').choices(formats),
    )
    .option(
      '--image-column <name>',
      'column of paths, URLs or bytes (default: image, path, file, filename, url or uri); in a tar the extension, such as input.jpg',
    )
    .option('--label-column <name>', 'column of the known class (default: label)');
}

/** Formats in which images can have a known class. */
export const labelledFormats: readonly SourceFormat[] = sourceFormats.filter(format => format !== 'image');

export function needCheckpoint(checkpoint: string | undefined, command: Command): string {
  return checkpoint ?? command.error("error: required option '-c, --checkpoint <file>' not specified");
}
