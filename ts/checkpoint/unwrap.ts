import type {TensorInfo} from './checkpoint.ts';
import {type CheckpointFile, printable} from './file.ts';
import {TensorView, tensorInfo} from './storage.ts';

/**
 * Where training scripts keep the state dict, best first. Averaged weights come before those they average, since those
 * are what published accuracies belong to; the order is that of timm's load_state_dict, `ema_state_dict` is mmpretrain's.
 */
const wrappers = ['state_dict_ema', 'model_ema', 'ema_state_dict', 'state_dict', 'model'];

/** DistributedDataParallel and torch.compile put these before every name. */
const prefixes = /^(?:module\.|_orig_mod\.)+/;

/**
 * Finds the state dict in what a checkpoint's pickle holds. Entries that are not tensors are left out.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_FORMAT when there is none, ERR_CHECKPOINT_CORRUPT when two tensors have one name
 */
export function unwrapStateDict(root: unknown, file: CheckpointFile): Map<string, TensorInfo> {
  return nameTensors(tensorEntries(findStateDict(root, file)), file);
}

/** @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT when two tensors have one name once their prefixes are removed */
export function nameTensors(
  entries: Iterable<[string, TensorView]>,
  file: CheckpointFile,
): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const [key, view] of entries) {
    const name = key.replace(prefixes, '');
    if (tensors.has(name)) {
      throw file.fail('ERR_CHECKPOINT_CORRUPT', `it has two tensors named ${printable(name)}`);
    }
    tensors.set(name, tensorInfo(name, view, file));
  }
  return tensors;
}

function findStateDict(root: unknown, file: CheckpointFile): unknown {
  const wrapped = root instanceof Map ? wrappers.map(key => root.get(key)) : [];
  const found = [...wrapped, root].find(candidate => tensorEntries(candidate).length > 0);
  if (found !== undefined) return found;
  throw file.fail(
    'ERR_CHECKPOINT_FORMAT',
    `expected a state dict, that is a dict of tensors, at the top or under ${wrappers.join(', ')}, ` +
      `but found ${describe(root)}`,
  );
}

function tensorEntries(candidate: unknown): [string, TensorView][] {
  if (!(candidate instanceof Map)) return [];
  return [...candidate].filter(
    (entry): entry is [string, TensorView] => typeof entry[0] === 'string' && entry[1] instanceof TensorView,
  );
}

function describe(root: unknown): string {
  if (root instanceof TensorView) return 'a single tensor';
  if (Array.isArray(root)) return `a list of ${root.length}`;
  if (!(root instanceof Map)) return root === null ? 'None' : `a ${typeof root}`;
  if (root.size === 0) return 'an empty dict';
  const keys = [...root.keys()].slice(0, 5).map(shownKey);
  return `a dict with the keys ${keys.join(', ')}${root.size > keys.length ? ', …' : ''}`;
}

function shownKey(key: unknown): string {
  if (typeof key === 'string') return printable(key);
  return typeof key === 'number' || typeof key === 'bigint' ? `${key} (a number)` : `(a ${typeof key})`;
}
