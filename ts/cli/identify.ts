import {type Architecture, architectureByName} from '../architecture.ts';
import {namesArchitecture} from '../loading/locate.ts';
import {openNetwork} from '../loading/open_network.ts';
import type {Form} from '../network.ts';
import {defaultPreprocessing} from '../preprocessing.ts';
import {downloadProgress} from './progress.ts';

/** Facts about a checkpoint file; null for an architecture given by name. */
export interface CheckpointInfo {
  path: string;
  /** The container format. */
  format: string;
  /** The project whose tensor names it uses. */
  names: string;
  form: Form;
  /** Blocks stored in fused form. */
  fusedBlocks: number;
  /** Epsilon of its batch normalisations; null if it has none. */
  eps: number | null;
  tensors: number;
}

/** The architecture of a checkpoint, or of that name, and the size of its input. */
export async function identify(
  model: string,
  eps: number | undefined,
): Promise<{architecture: Architecture; checkpoint: CheckpointInfo | null; crop: number}> {
  if (namesArchitecture(model)) {
    const architecture = architectureByName(model);
    return {architecture, checkpoint: null, crop: defaultPreprocessing(architecture).crop};
  }
  await using opened = await openNetwork(model, {eps, onProgress: downloadProgress(model)});
  const {path, format, tensors} = opened.file;
  const {architecture, dialect, form, blocks, eps: ownEps} = opened.structure;
  const fusedBlocks = blocks.filter(({form}) => form === 'deploy').length;
  const names = dialect.name;
  return {
    architecture,
    crop: (await opened.preprocessing()).crop,
    checkpoint: {path, format, names, form, fusedBlocks, eps: ownEps, tensors: tensors.size},
  };
}
