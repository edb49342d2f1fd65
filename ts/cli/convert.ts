import type {Command} from 'commander';
import {convertCheckpoint} from '../convert.ts';
import {architectureOption, jsonOption} from './options.ts';
import {count, print, printJson, title} from './output.ts';

interface Flags {
  architecture?: string;
  json?: true;
}

const examples = `
Examples:
  $ repvgg convert digits digits-deploy.pth
  $ repvgg convert RepVGG-A0-train.pth RepVGG-A0-deploy.pth -a RepVGG-A0`;

export function addConvert(program: Command): void {
  program
    .command('convert')
    .description('fuse a checkpoint and write the official deploy form, as a PyTorch state dict')
    .argument('<train>', 'the checkpoint to read, or "digits"')
    .argument('<deploy>', 'the file to write; it may be the one that is read')
    .addOption(architectureOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(convert);
}

async function convert(from: string, to: string, {json, ...options}: Flags): Promise<void> {
  const conversion = await convertCheckpoint(from, to, options);
  if (json) return printJson(conversion);
  const {architecture, storedForm, fusedBlocks, parameters, bytes} = conversion;
  const {before, after} = parameters;
  await print(
    storedForm === 'train'
      ? `${title(architecture)}: fused ${fusedBlocks} blocks, ${count(before)} parameters became ${count(after)}`
      : `${title(architecture)}: was fused already, ${count(after)} parameters copied under the official names`,
  );
  await print(`wrote ${to} (${count(bytes)} bytes)`);
}
