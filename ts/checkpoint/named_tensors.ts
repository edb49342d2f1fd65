/** The tensors of a checkpoint by the names that a network has for them, and what is said of one that is not as it should be. */
import {RepVGGError} from '../errors.ts';
import type {Checkpoint, TensorInfo} from './checkpoint.ts';
import {printable} from './file.ts';

export type NamedTensors = Pick<Checkpoint, 'path' | 'tensors'>;

export function tensorOf(checkpoint: NamedTensors, name: string): TensorInfo {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw missing(checkpoint, name);
  return tensor;
}

export function missing({path, tensors}: NamedTensors, name: string): RepVGGError {
  return new RepVGGError(
    'ERR_CHECKPOINT_MISSING_TENSOR',
    `Expected tensor "${printable(name)}" in ${path} but its ${tensors.size} tensors do not include it; save the whole state dict of the network.`,
  );
}

export function wrongShape({path}: NamedTensors, {name, shape}: TensorInfo, expected: string): RepVGGError {
  return new RepVGGError(
    'ERR_CHECKPOINT_SHAPE',
    `Expected shape ${expected} for tensor "${printable(name)}" of ${path} but received [${shape.join(', ')}].`,
  );
}
