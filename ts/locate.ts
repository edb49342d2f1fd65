import {existsSync} from 'node:fs';
import {digits} from './digits.ts';
import type {FetchOptions} from './hub/fetch.ts';
import {isHubId} from './hub/id.ts';

/**
 * The file of a checkpoint: itself, the embedded one for "digits", or where there is no such file and it has the form of
 * "owner/name", the weights of that model of the Hugging Face hub, fetched into its cache.
 *
 * @throws {RepVGGError} ERR_DOWNLOAD, or the signal's reason once it is aborted
 */
export async function locateCheckpoint(
  checkpoint: string,
  options: Pick<FetchOptions, 'onProgress' | 'signal'> = {},
): Promise<string> {
  if (checkpoint === 'digits') return digits.checkpoint;
  if (!isHubId(checkpoint) || existsSync(checkpoint)) return checkpoint;
  const {fetchModel} = await import('./hub/fetch.ts');
  return (await fetchModel(checkpoint, options)).path;
}
