import {type Command, Option} from 'commander';
import type {Verification} from '../verify.ts';
import {
  architectureOption,
  batchSizeOption,
  calibrationOption,
  deviceOption,
  epsOption,
  exitCode,
  jsonOption,
  type NetworkFlags,
  parsePositiveInteger,
  parsePositiveNumber,
  precisionOption,
  preprocessingOptions,
  takePreprocessing,
  threadsOption,
} from './options.ts';
import {print, printJson, printTable, small, title} from './output.ts';
import {downloadProgress} from './progress.ts';

interface Flags extends Omit<NetworkFlags, 'checkpoint' | 'labels' | 'form' | 'winograd'> {
  images?: string[];
  random?: number;
  tolerance?: number;
  json?: true;
}

const examples = `
Examples:
  $ repvgg verify digits
  $ repvgg verify RepVGG-A0-train.pth RepVGG-A0-deploy.pth --images cat.jpg dog.jpg`;

export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('run a network as trained and fused, and compare the outputs')
    .argument('<train>', 'a checkpoint in train form, or "digits"')
    .argument('[deploy]', 'its deploy form (default: <train>, fused in memory)')
    .addOption(new Option('--images <files...>', 'images to run (default: noise)').conflicts('random'))
    .option(
      '--random <n>',
      'number of noise images, the same in every run (default: 8)',
      parsePositiveInteger,
    )
    .option(
      '--tolerance <t>',
      'largest accepted relative difference (default: 1e-4; tf32 and fp16 5e-3, bf16 2e-2, fp8 0.2)',
      parsePositiveNumber,
    )
    .addOption(architectureOption())
    .addOption(epsOption())
    .addOption(deviceOption())
    .addOption(precisionOption().default('fp32'))
    .addOption(calibrationOption());
  for (const option of preprocessingOptions()) command.addOption(option);
  command
    .addOption(batchSizeOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(verify);
}

async function verify(train: string, deploy: string | undefined, flags: Flags): Promise<void> {
  const {images, json, ...options} = takePreprocessing(flags);
  const {verifyCheckpoint} = await import('../verify.ts');
  const verification = await verifyCheckpoint(train, {
    ...options,
    onProgress: downloadProgress(train),
    ...(deploy !== undefined && {deploy}),
    ...(images && {inputs: images}),
  });
  if (!verification.passed) process.exitCode = exitCode.rowsFailed;
  if (json) return printJson(verification);
  const inPrecision = verification.precision === 'fp32' ? '' : `, in ${verification.precision}`;
  await print(
    `${title(verification.architecture)}: ${train} as trained and ${deploy ?? 'fused here'}${inPrecision}\n`,
  );
  await printVerification(verification, images);
}

async function printVerification(verification: Verification, images: string[] | undefined): Promise<void> {
  const {output, sumSquaredDifferences, relativeDifferences, sameTop1, tolerance, passed} = verification;
  const total = sumSquaredDifferences.length;
  await printTable('lrr', [
    ['image', 'sum of squared differences', 'relative difference'],
    ...sumSquaredDifferences.map((sum, i) => [
      images?.[i] ?? `noise ${i}`,
      small(sum),
      small(relativeDifferences[i]!),
    ]),
  ]);
  const values = output === 'logits' ? 'logit' : 'feature';
  await print();
  await printTable('ll', [
    [`largest ${values} difference`, small(verification.largestDifference)],
    [`largest ${values}`, small(verification.largestOutput)],
    ...(sameTop1 === null ? [] : [['same top-1', `${sameTop1} of ${total}`]]),
  ]);
  const different = relativeDifferences.filter(difference => !(difference <= tolerance)).length;
  await print(
    passed
      ? `\nequal: no relative difference exceeds ${tolerance}`
      : `\nDIFFERENT: ${different} of ${total} relative differences exceed ${tolerance}`,
  );
}
