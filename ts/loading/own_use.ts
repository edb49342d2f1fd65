import type {Architecture} from '../architecture.ts';
import type {Checkpoint} from '../checkpoint/checkpoint.ts';
import {digits} from '../digits.ts';
import type {OwnLabels} from '../labels.ts';
import {type Preprocessing, preprocessingOf} from '../preprocessing.ts';
import {readTimmConfig} from './timm_config.ts';

/** How a network is to be used where the caller does not say otherwise. */
export interface OwnUse extends OwnLabels {
  preprocessing: Preprocessing;
}

/**
 * What comes with a checkpoint: in the package for "digits", in timm's config.json beside the file, in the file itself, or
 * else what its variant was published with.
 *
 * @param checkpoint as the caller names it
 * @throws {RepVGGError} those of `readTimmConfig`
 */
export async function ownUse(
  checkpoint: string,
  file: Checkpoint,
  architecture: Architecture,
): Promise<OwnUse> {
  if (checkpoint === 'digits') return digits;
  const config = await readTimmConfig(file.path);
  const preprocessing = preprocessingOf(config ?? file, architecture);
  if (config?.labels) return {preprocessing, labels: config.labels, labelsFile: config.path};
  return {preprocessing, labels: file.labels, labelsFile: file.path};
}
