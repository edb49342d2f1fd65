import {InvalidArgumentError, Option} from 'commander';
import type {DeviceName, Precision} from '../device.ts';
import type {Form} from '../network.ts';
import type {Interpolation, Preprocessing} from '../preprocessing.ts';

/** Exit codes. 0 is success. */
export const exitCode = {rowsFailed: 1, usage: 2, failure: 3} as const;

export function positiveInteger(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('Expected a positive integer.');
  return Number(value);
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

export const jsonOption = (): Option => new Option('--json', 'print JSON, for programs');

export const architectureOption = (): Option =>
  new Option(
    '-a, --architecture <name>',
    'what the checkpoint must hold, such as RepVGG-A0 (default: whatever it holds)',
  );

export const deviceOption = (): Option =>
  new Option('--device <name>', 'auto, cpu, cuda or cuda:N; cuda:0,cuda:1 shares batches out')
    .default('auto' satisfies DeviceName)
    .argParser((value: string) => (value.includes(',') ? value.split(',') : value));

export const precisionOption = (): Option =>
  new Option('--precision <name>', 'arithmetic of the network')
    .choices(['auto', 'fp32', 'tf32', 'fp16', 'bf16'] satisfies Precision[])
    .default('auto');

export const formOption = (): Option =>
  new Option('--form <form>', 'run the branches fused, or as they were trained')
    .choices(['deploy', 'train'] satisfies Form[])
    .default('deploy');

export const threadsOption = (): Option =>
  new Option('--threads <n>', 'CPU threads (default: every core)').argParser(positiveInteger);

export const batchSizeOption = (): Option =>
  new Option('--batch-size <n>', 'images that run together').default(32).argParser(positiveInteger);

export const preprocessingOptions = (): Option[] => [
  new Option(
    '--resize <pixels>',
    "resize the short side, 0 to leave it (default: the variant's, or as --crop says)",
  ).argParser(pixels),
  new Option('--crop <pixels>', "side of the centre crop (default: the variant's)").argParser(pixels),
  new Option('--interpolation <name>', 'how to resize (default: bilinear)').choices([
    'bilinear',
    'bicubic',
  ] satisfies Interpolation[]),
];

export type PreprocessingFlags = Partial<Pick<Preprocessing, 'resize' | 'crop' | 'interpolation'>>;

/**
 * The fields that were given. A crop alone brings its resize with it, as `-r` of the official test.py does: 256 for 224,
 * else its own size. Otherwise a large crop would reach over the edge of the image, and a small one see little of it.
 */
export function toPreprocessing({resize, crop, interpolation}: PreprocessingFlags): Partial<Preprocessing> {
  const short = resize ?? (crop === 224 ? 256 : crop);
  return {
    ...(short !== undefined && {resize: short}),
    ...(crop !== undefined && {crop}),
    ...(interpolation !== undefined && {interpolation}),
  };
}
