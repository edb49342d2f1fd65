import type {Architecture} from '../architecture.ts';
import {randomNetwork} from '../bench/workload.ts';
import {checkFp8, isFp8, typicalRanges} from '../calibration.ts';
import {setParameters} from '../load_network.ts';
import {fromNative, type NetworkDescription} from '../native/addon.ts';
import type {Placement} from '../native/device.ts';
import {createNetwork, disposing, toNativeShape} from '../native/native_network.ts';
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
  options: {batchSize: number; threads?: number},
): Promise<NetworkDescription> {
  const {mean, std} = defaultPreprocessing(architecture);
  try {
    const shape = toNativeShape(architecture, 'deploy', {crop: size, mean, std});
    if (isFp8(placement.precision)) {
      checkFp8(architecture, 'deploy');
      shape.ranges = typicalRanges(shape);
    }
    await using created = disposing(await createNetwork(shape, placement, options));
    await setParameters(created.network, randomNetwork(architecture, 'deploy'), 'deploy');
    return JSON.parse(await created.network.describe()) as NetworkDescription;
  } catch (error) {
    throw fromNative(error);
  }
}
