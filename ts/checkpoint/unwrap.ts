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

/** A training checkpoint has some ten entries, among which a state dict of whatever name is looked for. */
const maxCompany = 256;

/** Of five blocks, fused and without a classifier. A dict of fewer is of something else: losses, scores. */
const leastTensors = 10;

/** How often an average was taken, beside its weights: torch.optim.swa_utils.AveragedModel's, and mmengine's. */
const counters = ['n_averaged', 'steps'];

/** What torch.compile, FSDP and activation checkpointing call a module within them, which any module may be. */
const wrapperModules = /(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\./g;
/** What DataParallel and DistributedDataParallel put before every name. */
const prefixes = /^(?:module\.)+/;

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
    const name = plainName(key);
    const view = value instanceof NumpyArray ? value.view(printable(name), file) : value;
    addTensor(tensors, name, view, file);
  }
  return tensors;
}

/** The name of a tensor without those of what PyTorch puts around modules. */
export function plainName(name: string): string {
  return name.replace(wrapperModules, '').replace(prefixes, '');
}

export type TensorEntry = [name: string, value: TensorView | NumpyArray];

interface Found {
  entries: TensorEntry[];
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
    if (found) return found;
  }
  const own = find(root);
  // Beside a state dict of another name there may be single tensors, such as a loss.
  const others: {key: unknown; found: Found}[] = [];
  const seen = new Set<unknown>();
  for (const [key, value] of dict.size <= maxCompany ? dict : []) {
    const found = seen.has(value) ? undefined : find(value);
    seen.add(value);
    if (found && found.entries.length > (own?.entries.length ?? 0)) others.push({key, found});
  }
  const networks = others.filter(({found}) => found.entries.length >= leastTensors);
  const candidates = networks.length > 0 ? networks : others;
  if (candidates.length > 1) {
    const keys = candidates.map(({key}) => key);
    const advice = `save the one that you want: torch.save(torch.load(path)[${JSON.stringify(shownKey(keys[0]))}], out)`;
    const problem = `expected one state dict but found ${keys.length}, under ${listOf(keys)}, so ${advice}`;
    throw file.fail('ERR_CHECKPOINT_FORMAT', problem);
  }
  const found = candidates[0]?.found ?? own;
  if (found) return found;
  throw file.fail(
    'ERR_CHECKPOINT_FORMAT',
    `expected a state dict, that is a dict of tensors, at the top, under ${wrappers.join(', ')}, or one alone, ` +
      `but found ${describe(root)}`,
  );
}

/** What is in dicts of one entry alone, as torch.distributed.checkpoint makes them of an application's state. */
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
  return `a dict with the keys ${listOf([...root.keys()])}`;
}

function listOf(keys: readonly unknown[]): string {
  return `${keys.slice(0, 5).map(shownKey).join(', ')}${keys.length > 5 ? ', …' : ''}`;
}

function shownKey(key: unknown): string {
  if (typeof key === 'string') return printable(key);
  return key instanceof NumberKey ? `${key.value} (a number)` : '(neither a text nor a number)';
}
