import {type Command, Option} from 'commander';
import type {Form} from '../network.ts';
import {count} from '../support/plain_text.ts';
import {architectureOption, epsOption, jsonOption} from './options.ts';
import {print, printJson, title} from './output.ts';

interface Flags {
  architecture?: string;
  eps?: number;
  form: Form;
  json?: true;
}

const examples = `
Examples:
  $ repvgg convert digits digits-deploy.pth
  $ repvgg convert RepVGG-A0-train.pth RepVGG-A0-deploy.pth -a RepVGG-A0
  $ repvgg convert RepVGG-A0-train.pth RepVGG-A0-train.safetensors --form train`;

export function addConvert(program: Command): void {
  program
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
    )
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(convert);
}

async function convert(from: string, to: string, {json, ...options}: Flags): Promise<void> {
  const {convertCheckpoint} = await import('../convert.ts');
  const conversion = await convertCheckpoint(from, to, options);
  if (json) return printJson(conversion);
  const {architecture, fusedBlocks, parameters, bytes, ...forms} = conversion;
  const {before, after} = parameters;
  const wasFused = forms.storedForm === 'deploy' ? 'already fused, ' : '';
  await print(
    fusedBlocks > 0
      ? `${title(architecture)}: fused ${fusedBlocks} blocks, ${count(before)} parameters became ${count(after)}`
      : `${title(architecture)}: ${wasFused}${count(after)} parameters copied with the official names`,
  );
  await print(`wrote ${to} (${count(bytes)} bytes)`);
}
