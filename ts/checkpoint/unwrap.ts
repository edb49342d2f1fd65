import type {StateDict, TensorInfo} from './checkpoint.ts';
import {type CheckpointFile, printable} from './file.ts';
import {isModule, moduleContent} from './module.ts';
import {NumpyArray} from './numpy_pickle.ts';
import {NumberKey, PythonObject} from './python_objects.ts';
import {addTensor, TensorView} from './storage.ts';

/**
 * Where training scripts keep the state dict, best first. Averaged weights come before those they average, since those
 * are what published accuracies belong to; the order is that of timm's load_state_dict. `ema` is that of the official
 * main.py and of YOLO. mmengine, with which mmpretrain trains, swaps the two before it saves them (hooks/ema_hook.py): its
 * average is `state_dict`. `model_state_dict` is that of PyTorch's tutorials.
 */
const wrappers = [
  'state_dict_ema',
  'model_ema',
  'ema',
  'state_dict',
  'ema_state_dict',
  'model',
  'model_state_dict',
];

/** How often an average was taken, beside its weights: torch.optim.swa_utils.AveragedModel's, and mmengine's. */
const counters = ['n_averaged', 'steps'];

/** DistributedDataParallel and torch.compile put these before every name. */
const prefixes = /^(?:module\.|_orig_mod\.)+/;

/**
 * Finds the state dict in what a checkpoint's pickle holds: a dict of tensors or of arrays, or the parameters and buffers
 * of a whole module. Entries that are not tensors are left out.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_FORMAT when there is none, ERR_CHECKPOINT_CORRUPT when two tensors have one name
 */
export function unwrapStateDict(root: unknown, file: CheckpointFile): StateDict {
  const {entries, eps} = findStateDict(root, file);
  return {tensors: nameTensors(entries, file), eps};
}

/** @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT when two tensors have one name once their prefixes are removed */
export function nameTensors(entries: Iterable<TensorEntry>, file: CheckpointFile): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const [key, value] of entries) {
    if (counters.includes(key)) continue;
    const name = key.replace(prefixes, '');
    const view = value instanceof NumpyArray ? value.view(printable(name), file) : value;
    addTensor(tensors, name, view, file);
  }
  return tensors;
}

export type TensorEntry = [name: string, value: TensorView | NumpyArray];

interface Found {
  entries: TensorEntry[];
  eps?: number | undefined;
}

function findStateDict(root: unknown, file: CheckpointFile): Found {
  const dict = dictOf(root);
  for (const candidate of [...wrappers.map(key => dict?.get(key)), root]) {
    const {tensors, eps} = isModule(candidate)
      ? moduleContent(candidate, file)
      : {tensors: dictOf(candidate)};
    const entries = tensorEntries(tensors);
    if (entries.length > 0) return {entries, eps};
  }
  const alone = onlyTensorEntries(dict);
  if (alone) return {entries: alone};
  throw file.fail(
    'ERR_CHECKPOINT_FORMAT',
    `expected a state dict, that is a dict of tensors, at the top, under ${wrappers.join(', ')}, or one alone, ` +
      `but found ${describe(root)}`,
  );
}

/** Of the one dict of tensors that there is, whatever its name. Each is looked at once, however often it is referred to. */
function onlyTensorEntries(dict: ReadonlyMap<unknown, unknown> = new Map()): TensorEntry[] | undefined {
  let only: TensorEntry[] | undefined;
  for (const value of new Set(dict.values())) {
    const found = tensorEntries(dictOf(value));
    if (found.length === 0) continue;
    if (only) return undefined;
    only = found;
  }
  return only;
}

function tensorEntries(entries: ReadonlyMap<unknown, unknown> = new Map()): TensorEntry[] {
  const tensors: TensorEntry[] = [];
  for (const [key, entry] of entries) {
    const value = tensorOf(entry);
    if (typeof key === 'string' && value) tensors.push([key, value]);
  }
  return tensors;
}

/** Paddle saves a tensor of its own as the pair of its name and its numbers. */
function tensorOf(entry: unknown): TensorView | NumpyArray | undefined {
  const value = Array.isArray(entry) && entry.length === 2 ? entry[1] : entry;
  return value instanceof TensorView || value instanceof NumpyArray ? value : undefined;
}

/** A dict, or an object of an unknown class of dicts, such as EasyDict. */
function dictOf(value: unknown): ReadonlyMap<unknown, unknown> | undefined {
  if (value instanceof PythonObject) return value.entries;
  return value instanceof Map ? value : undefined;
}

function describe(root: unknown): string {
  if (root instanceof TensorView || root instanceof NumpyArray) return 'a single tensor';
  if (root instanceof PythonObject) return `an object of the class ${printable(root.className)}`;
  if (Array.isArray(root)) return `a list of ${root.length}`;
  if (!(root instanceof Map)) return root === null ? 'None' : `a ${typeof root}`;
  if (root.size === 0) return 'an empty dict';
  const keys = [...root.keys()].slice(0, 5).map(shownKey);
  return `a dict with the keys ${keys.join(', ')}${root.size > keys.length ? ', …' : ''}`;
}

function shownKey(key: unknown): string {
  if (typeof key === 'string') return printable(key);
  return key instanceof NumberKey ? `${key.value} (a number)` : `(a ${typeof key})`;
}
