/** The tensors of a checkpoint by name, and the errors for those that are missing or of the wrong shape. */
import {RepVGGError} from '../errors.ts';
import type {Checkpoint, TensorInfo} from './checkpoint.ts';
import {printable} from './file.ts';

export type NamedTensors = Pick<Checkpoint, 'path' | 'tensors' | 'key'>;

export function tensorOf(checkpoint: NamedTensors, name: string): TensorInfo {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw missing(checkpoint, name);
  return tensor;
}

export function missing({path, tensors, key}: NamedTensors, name: string): RepVGGError {
  const advice =
    reparametrisations.find(([stored]) => tensors.has(stored(name)))?.[1] ??
    (/-\d+-of-\d+\.\w+$/.test(path)
      ? 'it is one of several files, so load their index, *.index.json'
      : 'save the whole state dict of the network');
  const under = key === undefined ? '' : ` under "${key}"`;
  return new RepVGGError(
    'ERR_CHECKPOINT_MISSING_TENSOR',
    `Expected tensor "${printable(name)}" in ${path} but its ${tensors.size} tensors${under} do not include it; ${advice}.`,
  );
}

/** The tensors that PyTorch stores instead of a weight that it recomputes, and how to make the weight permanent. */
const reparametrisations: readonly [stored: (name: string) => string, advice: string][] = [
  [
    name => `${name}_orig`,
    'it is pruned, so make the pruning permanent before saving: torch.nn.utils.prune.remove(module, name)',
  ],
  [
    name => name.replace(/([^.]+)$/, 'parametrizations.$1.original0'),
    'it is parametrised, so remove the parametrisation before saving: torch.nn.utils.parametrize.remove_parametrizations(module, name)',
  ],
  [
    name => name.replace(/([^.]+)$/, 'parametrizations.$1.original'),
    'it is parametrised, so remove the parametrisation before saving: torch.nn.utils.parametrize.remove_parametrizations(module, name)',
  ],
  [
    name => `${name}_g`,
    'it uses weight normalisation, so remove that before saving: torch.nn.utils.remove_weight_norm(module)',
  ],
];

export function wrongShape({path}: NamedTensors, {name, shape}: TensorInfo, expected: string): RepVGGError {
  const advice = shape.includes(0)
    ? ", since its values are in other files, as with DeepSpeed's ZeRO-3: gather them, python zero_to_fp32.py FOLDER OUT"
    : '';
  return new RepVGGError(
    'ERR_CHECKPOINT_SHAPE',
    `Expected shape ${expected} for tensor "${printable(name)}" of ${path} but received [${shape.join(', ')}]${advice}.`,
  );
}
