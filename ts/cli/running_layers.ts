import type {Architecture} from '../architecture.ts';
import {createCase} from '../bench/network.ts';
import {fromNative, type NetworkDescription} from '../native/addon.ts';
import type {Placement} from '../native/device.ts';
import {describeNetwork, disposing} from '../native/native_network.ts';
import {defaultPreprocessing} from '../preprocessing.ts';

/**
 * How each block of the fused network runs on a device: its algorithm, why it was chosen, and measured times. Needs no
 * checkpoint, since none of this depends on weights. On a GPU, algorithms are measured unless cached results exist.
 *
 * @param size side of the input in pixels
 * @throws {RepVGGError} the errors of loading a model
 */
export async function describeLayers(
  architecture: Architecture,
  size: number,
  placement: Placement,
  {batchSize, threads}: {batchSize: number; threads?: number},
): Promise<NetworkDescription> {
  const preprocessing = {...defaultPreprocessing(architecture), crop: size};
  const model = {name: architecture.name, architecture, preprocessing, file: null};
  try {
    await using created = disposing(
      await createCase({...placement, model, form: 'deploy', batch: batchSize, threads}),
    );
    return await describeNetwork(created.network);
  } catch (error) {
    throw fromNative(error);
  }
}
