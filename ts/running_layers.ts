import type {Architecture} from './architecture.ts';
import {randomNetwork} from './bench/workload.ts';
import {checkFp8, isFp8, typicalRanges} from './calibration.ts';
import type {Placement} from './device.ts';
import {setParameters} from './load_network.ts';
import {fromNative, type NetworkDescription} from './native.ts';
import {createNetwork, disposing, toNativeShape} from './native_network.ts';
import {defaultPreprocessing} from './preprocessing.ts';

/**
 * How each block of the fused network would run on a device: algorithm, reason and what was measured. No checkpoint is
 * needed, as none of it depends on weights. On a GPU this measures what no process has measured before, and remembers it.
 *
 * @param size side of the input, in pixels
 * @throws {RepVGGError} what loading a model throws
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
    await using created = disposing(createNetwork(shape, placement, options));
    await setParameters(created.network, randomNetwork(architecture, 'deploy'), 'deploy');
    return JSON.parse(await created.network.describe()) as NetworkDescription;
  } catch (error) {
    throw fromNative(error);
  }
}
