import {type Command, Option} from 'commander';
import type {Form} from '../network.ts';
import {formatCount} from '../support/plain_text.ts';
import {interruptible} from './interruption.ts';
import {
  architectureOption,
  epsOption,
  jsonOption,
  labelsOption,
  type PreprocessingFlags,
  preprocessingOptions,
  takeUse,
} from './options.ts';
import {print, printJson, title} from './output.ts';
import {downloadProgress} from './progress.ts';

interface Flags extends PreprocessingFlags {
  architecture?: string;
  eps?: number;
  form: Form;
  labels?: string;
  json?: true;
}

const examples = `
Examples:
  $ repvgg convert digits digits-deploy.pth
  $ repvgg convert RepVGG-A0-train.pth RepVGG-A0-deploy.pth -a RepVGG-A0
  $ repvgg convert RepVGG-A0-train.pth RepVGG-A0-train.safetensors --form train
  $ repvgg convert digits digits.safetensors --crop 32 --labels labels.txt`;

export function addConvert(program: Command): void {
  const command = program
    .command('convert')
    .description('fuse a checkpoint and write it with the official tensor names, as .pth or .safetensors')
    .argument('<from>', 'the checkpoint to read, or "digits"')
    .argument('<to>', 'the file to write; may be the same as <from>')
    .addOption(architectureOption())
    .addOption(epsOption())
    .addOption(
      new Option('--form <form>', 'write the fused network, or the branches as trained')
        .choices(['deploy', 'train'] satisfies Form[])
        .default('deploy'),
    );
  for (const option of preprocessingOptions()) command.addOption(option);
  command.addOption(labelsOption()).addOption(jsonOption()).addHelpText('after', examples).action(convert);
}

async function convert(from: string, to: string, flags: Flags, command: Command): Promise<void> {
  const {json, architecture: expected, eps, form, ...useFlags} = flags;
  const use = takeUse(command, to, useFlags);
  const {convertCheckpoint} = await import('../convert.ts');
  const options = {architecture: expected, eps, form, onProgress: downloadProgress(from), ...use};
  const conversion = await interruptible(signal => convertCheckpoint(from, to, {...options, signal}));
  if (!conversion) return;
  if (json) return printJson(conversion);
  const {architecture, fusedBlocks, parameters, bytes, ...forms} = conversion;
  const {before, after} = parameters;
  const wasFused = forms.storedForm === 'deploy' ? 'already fused, ' : '';
  await print(
    fusedBlocks > 0
      ? `${title(architecture)}: fused ${fusedBlocks} blocks, ${formatCount(before)} parameters became ${formatCount(after)}`
      : `${title(architecture)}: ${wasFused}${formatCount(after)} parameters copied with the official names`,
  );
  await print(`wrote ${to} (${formatCount(bytes)} bytes)`);
}
