import type {LoadOptions} from '../loading/load_network.ts';
import type {RepVGG} from '../model.ts';
import {downloadProgress} from './progress.ts';

/** Loads a network, after importing the code that runs networks, which other commands do without. */
export async function loadModel(checkpoint: string, options: LoadOptions): Promise<RepVGG> {
  const model = await import('../model.ts');
  return model.RepVGG.load(checkpoint, {onProgress: downloadProgress(checkpoint), ...options});
}
