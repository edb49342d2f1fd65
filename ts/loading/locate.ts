import {existsSync} from 'node:fs';
import {readdir} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {isArchitectureName} from '../architecture.ts';
import {printable} from '../checkpoint/file.ts';
import {foreignFolder} from '../checkpoint/foreign.ts';
import {digits} from '../digits.ts';
import {invalidArgument, RepVGGError} from '../errors.ts';
import type {FetchOptions} from '../hub/fetch.ts';
import {isHubId} from '../hub/id.ts';
import {clause} from '../support/plain_text.ts';
import {isUrl} from '../support/urls.ts';
import {chooseWeights, usualWeights, weightFile} from '../weight_files.ts';

/**
 * The path of a checkpoint's file: the path itself, the embedded file for "digits", the weights in a folder, or, if nothing
 * has this path and it has the form "owner/name", the weights of that model on the Hugging Face hub, fetched into its cache.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for what is no string, ERR_DOWNLOAD, ERR_FILE_NOT_FOUND for the name of an
 *   architecture, ERR_FILE_READ or ERR_CHECKPOINT_UNSUPPORTED for a folder without a unique file of weights, or the signal's
 *   reason once it is aborted
 */
export async function locateCheckpoint(
  checkpoint: string,
  options: Pick<FetchOptions, 'onProgress' | 'signal'> = {},
): Promise<string> {
  if (typeof checkpoint !== 'string')
    throw invalidArgument('checkpoint', 'a path, "owner/name" of the hub or "digits"', checkpoint);
  if (checkpoint === 'digits') return digits.checkpoint;
  const isThere = existsSync(checkpoint);
  if (!isThere && isUrl(checkpoint)) {
    const message = `Cannot read checkpoint ${checkpoint}: URLs are not read; download it, and name the file.`;
    throw new RepVGGError('ERR_FILE_NOT_FOUND', message);
  }
  if (!isThere && isArchitectureName(checkpoint)) {
    throw new RepVGGError(
      'ERR_FILE_NOT_FOUND',
      `Cannot read checkpoint ${checkpoint}: no such file; that is an architecture, so name a file with its weights, or a model of the ` +
        'Hugging Face hub such as timm/repvgg_a0.rvgg_in1k.',
    );
  }
  if (!isHubId(checkpoint) || isThere) return (await inFolder(checkpoint)) ?? checkpoint;
  const {fetchModel} = await import('../hub/fetch.ts');
  try {
    return (await fetchModel(checkpoint, options)).path;
  } catch (error) {
    if (!(error instanceof RepVGGError) || error.code !== 'ERR_DOWNLOAD') throw error;
    // The id may be a mistyped path.
    const message = `${clause(error.message)}; there is no file or folder ${checkpoint} either.`;
    throw new RepVGGError(error.code, message, {cause: error.cause});
  }
}

/** Whether a name is meant as an architecture's and not as a checkpoint's; a file of that name takes precedence. */
export function namesArchitecture(name: string): boolean {
  return name !== 'digits' && !existsSync(name) && basename(name) === name && !name.includes('.');
}

/** The file of weights in a folder, as libraries save models and as in clones of hub repositories. */
async function inFolder(folder: string): Promise<string | undefined> {
  // If it is not a folder or cannot be read, opening it reports the reason.
  const names = await readdir(folder).catch(() => undefined);
  if (!names) return undefined;
  const foreign = usualWeights(names) === undefined ? foreignFolder(names) : undefined;
  const chosen = chooseWeights(names);
  if (foreign === undefined && chosen !== undefined) return join(folder, chosen);
  const fail = (code: 'ERR_FILE_READ' | 'ERR_CHECKPOINT_UNSUPPORTED', problem: string): RepVGGError =>
    new RepVGGError(code, `Cannot read checkpoint ${folder}: ${problem}.`);
  if (foreign !== undefined) throw fail('ERR_CHECKPOINT_UNSUPPORTED', foreign);
  const weights = names.filter(name => weightFile.test(name)).toSorted();
  const shown = weights.slice(0, 5).map(printable).join(', ');
  const files = weights.length > 0 ? `${shown}${weights.length > 5 ? ', …' : ''}` : 'no file of weights';
  throw fail('ERR_FILE_READ', `it is a directory with ${files}, so name the file`);
}
