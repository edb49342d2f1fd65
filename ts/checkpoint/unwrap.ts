import type {StateDict, TensorInfo} from './checkpoint.ts';
import {type CheckpointFile, printable} from './file.ts';
import {isModule, moduleContent} from './module.ts';
import {NumpyArray} from './pickle/numpy_pickle.ts';
import {NumberKey, PythonObject} from './pickle/python_objects.ts';
import {addTensor, TensorView} from './storage.ts';

/**
 * The keys of state dicts in training checkpoints, in order of preference. Averaged weights come before the weights that they
 * average, since published accuracies are theirs; the order is that of timm's load_state_dict. `ema` is used by the official
 * main.py and by YOLO. mmengine, with which mmpretrain trains, swaps the two before saving (hooks/ema_hook.py), so that its
 * average is `state_dict`. `model_state_dict` is from PyTorch's tutorials.
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

/** In a dict of more entries no state dict is searched under other keys; a training checkpoint has some ten. */
const maxCompany = 256;

/** Five fused blocks without a classifier. A dict of fewer tensors is something else: losses, metrics. */
const leastTensors = 10;

/** Update counters beside averaged weights, of torch.optim.swa_utils.AveragedModel and mmengine. */
const counters = ['n_averaged', 'steps'];

/** The names by which torch.compile, FSDP and activation checkpointing wrap a module, at any depth. */
const wrapperModules = /(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\./g;
/** The prefix that DataParallel and DistributedDataParallel add to every name. */
const prefixes = /^(?:module\.)+/;

/**
 * Finds the state dict in an unpickled checkpoint: a dict of tensors or numpy arrays, or the parameters and buffers of a
 * pickled module. Entries that are not tensors are left out.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_FORMAT if there is none, ERR_CHECKPOINT_CORRUPT if two tensors have the same name
 */
export function unwrapStateDict(root: unknown, file: CheckpointFile): StateDict {
  const {entries, key, eps} = findStateDict(root, file);
  return {tensors: nameTensors(entries, file), key, eps};
}

/** @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT if two names are equal once their prefixes are removed */
export function nameTensors(entries: Iterable<TensorEntry>, file: CheckpointFile): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const [key, value] of entries) {
    if (counters.includes(key)) continue;
    const name = plainName(key);
    const view = value instanceof NumpyArray ? value.view(printable(name), file) : value;
    addTensor(tensors, name, view, file);
  }
  return tensors;
}

/** A tensor's name without the names of PyTorch's wrapper modules. */
export function plainName(name: string): string {
  return name.replace(wrapperModules, '').replace(prefixes, '');
}

export type TensorEntry = [name: string, value: TensorView | NumpyArray];

interface Found {
  entries: TensorEntry[];
  /** Its key in the dict. */
  key?: string;
  eps?: number | undefined;
}

function findStateDict(whole: unknown, file: CheckpointFile): Found {
  const root = innermost(whole);
  const dict = dictOf(root) ?? new Map<unknown, unknown>();
  const count = {members: 0};
  const find = (candidate: unknown): Found | undefined => {
    const {tensors, eps} = isModule(candidate)
      ? moduleContent(candidate, file, count)
      : {tensors: dictOf(candidate)};
    const entries = tensorEntries(tensors);
    return entries.length > 0 ? {entries, eps} : undefined;
  };
  for (const key of wrappers) {
    const found = find(dict.get(key));
    if (found) return {...found, key};
  }
  const own = find(root);
  const found = findOther(dict, find, own?.entries.length ?? 0, file) ?? own;
  if (found) return found;
  throw file.fail(
    'ERR_CHECKPOINT_FORMAT',
    `expected a state dict, that is a dict of tensors, at the top, under ${wrappers.join(', ')}, or one alone, ` +
      `but found ${describe(root)}`,
  );
}

/**
 * The only state dict under a key of any name, of more tensors than the dict itself has: beside a state dict there may be single
 * tensors, such as a loss.
 */
function findOther(
  dict: ReadonlyMap<unknown, unknown>,
  find: (candidate: unknown) => Found | undefined,
  ownTensors: number,
  file: CheckpointFile,
): Found | undefined {
  if (dict.size > maxCompany) return undefined;
  const others: {key: unknown; found: Found}[] = [];
  const seen = new Set<unknown>();
  for (const [key, value] of dict) {
    const found = seen.has(value) ? undefined : find(value);
    seen.add(value);
    if (found && found.entries.length > ownTensors) others.push({key, found});
  }
  const networks = others.filter(({found}) => found.entries.length >= leastTensors);
  const candidates = networks.length > 0 ? networks : others;
  if (candidates.length > 1) {
    const keys = candidates.map(({key}) => key);
    const advice = `save the one that you want: torch.save(torch.load(path)[${JSON.stringify(shownKey(keys[0]))}], out)`;
    const problem = `expected one state dict but found ${keys.length}, under ${listOf(keys)}, so ${advice}`;
    throw file.fail('ERR_CHECKPOINT_FORMAT', problem);
  }
  const [only] = candidates;
  return only && {...only.found, key: shownKey(only.key)};
}

/** Unwraps nested dicts of a single entry, which torch.distributed.checkpoint creates from an application's state. */
function innermost(whole: unknown): unknown {
  let root = whole;
  for (let depth = 0; depth < 4 && root instanceof Map && root.size === 1; depth++) {
    const [only] = root.values();
    if (!(only instanceof Map)) break;
    root = only;
  }
  return root;
}

function tensorEntries(entries: ReadonlyMap<unknown, unknown> = new Map()): TensorEntry[] {
  const tensors: TensorEntry[] = [];
  for (const [key, entry] of entries) {
    const value = asTensor(entry);
    if (typeof key === 'string' && value) tensors.push([key, value]);
  }
  return tensors;
}

/** Paddle saves a tensor as a pair of its name and an array. */
function asTensor(entry: unknown): TensorView | NumpyArray | undefined {
  const value = Array.isArray(entry) && entry.length === 2 ? entry[1] : entry;
  return value instanceof TensorView || value instanceof NumpyArray ? value : undefined;
}

/** A dict, or an object of an unknown dict class, such as EasyDict. */
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
  return `a dict with the keys ${listOf([...root.keys()])}`;
}

function listOf(keys: readonly unknown[]): string {
  return `${keys.slice(0, 5).map(shownKey).join(', ')}${keys.length > 5 ? ', …' : ''}`;
}

function shownKey(key: unknown): string {
  if (typeof key === 'string') return printable(key);
  return key instanceof NumberKey ? `${key.value} (a number)` : '(neither a text nor a number)';
}
