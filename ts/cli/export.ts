import {extname} from 'node:path';
import {type Command, Option} from 'commander';
import type {OnnxExport} from '../export.ts';
import {formatCount} from '../support/plain_text.ts';
import {interruptible} from './interruption.ts';
import {
  architectureOption,
  epsOption,
  jsonOption,
  labelsOption,
  type PreprocessingFlags,
  preprocessingOptions,
  refuseIgnored,
  takeUse,
} from './options.ts';
import {print, printJson, title} from './output.ts';
import {downloadProgress} from './progress.ts';

interface Flags extends PreprocessingFlags {
  architecture?: string;
  eps?: number;
  precision: 'fp32' | 'fp16';
  uint8?: true;
  labels?: string;
  json?: true;
}

const examples = `
Examples:
  $ repvgg export RepVGG-A0-train.pth RepVGG-A0.onnx
  $ repvgg export digits digits.onnx --precision fp16 --uint8`;

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .description(
      'write the fused network for other runtimes: ONNX (opset 17), safetensors or a PyTorch state dict',
    )
    .argument('<checkpoint>', 'a checkpoint, "owner/name" on the Hugging Face Hub, or "digits"')
    .argument('<file>', 'the file to write; its extension selects the format: .onnx, .safetensors or .pth')
    .addOption(architectureOption())
    .addOption(epsOption())
    .addOption(
      new Option('--precision <name>', 'precision of the weights and arithmetic in ONNX')
        .choices(['fp32', 'fp16'])
        .default('fp32'),
    )
    .option('--uint8', 'the ONNX model takes uint8 pixels, N x crop x crop x 3, and normalises them itself');
  for (const option of preprocessingOptions()) command.addOption(option);
  command
    .addOption(labelsOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(exportCommand);
}

async function exportCommand(from: string, to: string, flags: Flags, command: Command): Promise<void> {
  const {json, architecture, eps, precision, uint8, ...useFlags} = flags;
  const ending = extname(to).toLowerCase();
  const onProgress = downloadProgress(from);
  if (ending === '.onnx') {
    const {exportOnnx} = await import('../export.ts');
    const options = {architecture, eps, precision, uint8, onProgress, ...takeUse(command, to, useFlags)};
    const exported = await interruptible(signal => exportOnnx(from, to, {...options, signal}));
    if (!exported) return;
    return json ? printJson(exported) : printExport(to, exported);
  }
  const {convertCheckpoint, writtenExtensions} = await import('../convert.ts');
  if (!writtenExtensions.includes(ending)) {
    const endings = ['.onnx', ...writtenExtensions].join(', ');
    command.error(`error: expected a file that ends in ${endings} but received '${to}'`);
  }
  refuseIgnored(command, ['precision', 'uint8'], `applies only to .onnx files, not to '${to}'`);
  const options = {architecture, eps, onProgress, ...takeUse(command, to, useFlags)};
  const conversion = await interruptible(signal => convertCheckpoint(from, to, {...options, signal}));
  if (!conversion) return;
  if (json) return printJson(conversion);
  await print(
    `${title(conversion.architecture)}: ${formatCount(conversion.parameters.after)} fused parameters with the official names`,
  );
  await print(`wrote ${to} (${formatCount(conversion.bytes)} bytes)`);
}

async function printExport(
  to: string,
  {architecture, precision, input, output, bytes}: OnnxExport,
): Promise<void> {
  const describe = ({name, type, shape}: OnnxExport['input']): string =>
    `"${name}", ${type} ${['N', ...shape].join(' x ')}`;
  const kind = input.type === 'uint8' ? 'RGB pixels' : 'normalised';
  await print(`${title(architecture)}: ONNX opset 17, ${precision}`);
  await print(`input   ${describe(input)}, ${kind}`);
  await print(`output  ${describe(output)}`);
  await print(`wrote ${to} (${formatCount(bytes)} bytes)`);
}
