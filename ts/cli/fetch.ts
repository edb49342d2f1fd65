import type {Command} from 'commander';
import {formatCount} from '../support/plain_text.ts';
import {jsonOption} from './options.ts';
import {print, printJson} from './output.ts';
import {downloadProgress} from './progress.ts';

interface Flags {
  file?: string;
  json?: true;
}

const examples = `
Examples:
  $ repvgg fetch timm/repvgg_a0.rvgg_in1k
  $ repvgg fetch timm/repvgg_a0.rvgg_in1k@main --file pytorch_model.bin --json`;

export function addFetch(program: Command): void {
  program
    .command('fetch')
    .description(
      'download the weights of a model from the Hugging Face Hub into its cache, and print their path',
    )
    .argument('<model>', '"owner/name" or "owner/name@revision"')
    .option(
      '--file <name>',
      'file with the weights (default: model.safetensors, else whichever weights exist)',
    )
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(fetchCommand);
}

async function fetchCommand(model: string, {file, json}: Flags): Promise<void> {
  const {fetchModel} = await import('../hub/fetch.ts');
  const fetched = await fetchModel(model, {file, onProgress: downloadProgress(model)});
  if (json) return printJson(fetched);
  const {bytes, downloaded, commit, path} = fetched;
  await print(
    downloaded > 0
      ? `downloaded ${formatCount(downloaded)} of ${formatCount(bytes)} bytes of ${fetched.file} at ${commit}`
      : `${fetched.file} at ${commit} is already in the cache (${formatCount(bytes)} bytes)`,
  );
  await print(path);
}
