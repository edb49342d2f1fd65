import {checkFp8, typicalRanges} from '../loading/calibration.ts';
import {setParameters} from '../loading/load_network.ts';
import type {NativeNetwork} from '../native/addon.ts';
import {isFp8, type Placement} from '../native/device.ts';
import {createNetwork, toNativeShape} from '../native/native_network.ts';
import type {Form} from '../network.ts';
import {type BenchModel, withParameters} from './models.ts';

export interface NetworkCase extends Placement {
  model: BenchModel;
  form: Form;
  batch: number;
  threads: number;
}

/**
 * A network whose times are to be measured: with random weights unless it has a checkpoint, and in fp8 with typical ranges, on
 * neither of which they depend.
 *
 * @throws {RepVGGError} or an error for `fromNative`
 */
export async function createCase({
  model,
  form,
  device,
  precision,
  batch,
  threads,
}: Omit<NetworkCase, 'threads'> & {threads?: number | undefined}): Promise<NativeNetwork> {
  const {architecture, preprocessing} = model;
  const shape = toNativeShape(architecture, form, preprocessing);
  if (isFp8(precision)) {
    checkFp8(architecture);
    shape.ranges = typicalRanges(shape);
  }
  const created = await createNetwork(
    shape,
    {device, precision},
    {batchSize: batch, ...(threads && {threads})},
  );
  await withParameters(model, form, parameters => setParameters(created, parameters, form));
  return created;
}
