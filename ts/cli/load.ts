import type {LoadOptions} from '../load_network.ts';
import type {RepVGG} from '../model.ts';
import {downloadProgress} from './progress.ts';

/**
 * Loads a network, and first the code that runs networks: sharp and all. It is not in the commands themselves since
 * TypeScript 5.9 forgets to rewrite the `.ts` of an `import()` in functions that have an `await using`.
 */
export async function loadModel(checkpoint: string, options: LoadOptions): Promise<RepVGG> {
  const model = await import('../model.ts');
  return model.RepVGG.load(checkpoint, {onProgress: downloadProgress(checkpoint), ...options});
}
