import type {RepVGGError} from '../../errors.ts';
import type {DType} from '../element_types.ts';
import {type CheckpointFile, printable} from '../file.ts';
import {toTorchSave} from '../foreign.ts';
import {isShape, isSize} from '../shape.ts';
import {Storage, TensorView} from '../storage.ts';
import {numpyGlobals} from './numpy_pickle.ts';
import type {PickleOptions} from './pickle.ts';
import {type PickleContext, PickleGlobal, PythonName, pythonGlobals} from './python_objects.ts';

const storageTypes: ReadonlyMap<string, DType> = new Map([
  ['torch.DoubleStorage', 'f64'],
  ['torch.FloatStorage', 'f32'],
  ['torch.HalfStorage', 'f16'],
  ['torch.BFloat16Storage', 'bf16'],
  ['torch.LongStorage', 'i64'],
  ['torch.IntStorage', 'i32'],
  ['torch.ShortStorage', 'i16'],
  ['torch.CharStorage', 'i8'],
  ['torch.ByteStorage', 'u8'],
  ['torch.BoolStorage', 'bool'],
  ['torch.storage.UntypedStorage', 'u8'],
]);

/** dtypes occur as values, for example in the settings of training checkpoints. */
const dtypeNames =
  'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128'.split(' ');

/**
 * The allow-list of names that a checkpoint's pickle may call: the subset of `torch.load(weights_only=True)`
 * (torch/_weights_only_unpickler.py) that dense tensors, optimizers and schedulers need; numpy arrays; and harmless types of
 * the standard library.
 */
const globals: ReadonlyMap<string, PickleGlobal> = new Map(
  [
    ...pythonGlobals,
    ...numpyGlobals,
    new PickleGlobal('torch.Size', ([sizes]) => sizes),
    new PickleGlobal('torch.device', () => null),
    new PickleGlobal('torch._utils._rebuild_tensor', rebuildTensor),
    new PickleGlobal('torch._utils._rebuild_tensor_v2', rebuildTensor),
    // Tensors of TPUs and other devices without storages, as CPU tensors or numpy arrays, followed by dtype and device.
    new PickleGlobal('torch._utils._rebuild_device_tensor_from_cpu_tensor', ([tensor]) => tensor),
    new PickleGlobal('torch._utils._rebuild_device_tensor_from_numpy', ([array]) => array),
    new PickleGlobal('torch._utils._rebuild_xla_tensor', ([array]) => array),
    new PickleGlobal('torch._utils._rebuild_parameter', ([tensor]) => tensor),
    new PickleGlobal('torch._utils._rebuild_parameter_with_state', ([tensor]) => tensor),
    new PickleGlobal('torch._tensor._rebuild_from_type_v2', rebuildFromType),
    new PickleGlobal('torch._utils._rebuild_wrapper_subclass', refuseSubclass),
    new PickleGlobal('torch.serialization._get_layout', () => null),
    // torch.save(torch.compile(model)): the model and the compiler's settings.
    new PickleGlobal('torch._dynamo.eval_frame.OptimizedModule', ([module]) => module),
    new PickleGlobal('torch._dynamo.eval_frame.OptimizeContext', () => null),
    ...[...storageTypes.keys(), ...dtypeNames.map(name => `torch.${name}`)].map(
      name =>
        new PickleGlobal(name, (_args, context) => {
          throw context.corrupt(`calls ${name}, which is a type`);
        }),
    ),
  ].map(global => [global.name, global]),
);

/** Names that stand for tensors of unsupported kinds, and what to do about them. */
const unsupported: readonly [names: RegExp, problem: string][] = [
  [
    /^torch\.(_utils\._rebuild_qtensor|QU?Int\w+Storage|qu?int\w+|per_(tensor|channel)_\w+)$/,
    'it has quantised tensors, so save the network before quantisation',
  ],
  [
    /^torch\.(_utils\._rebuild_sparse\w+|sparse_\w+)$/,
    'it has sparse tensors, so save them with .to_dense()',
  ],
  [
    /^torch\.Complex\w+Storage$/,
    'it has complex tensors, where RepVGG has real ones, so save only the weights of the network',
  ],
  [
    /^torch\.(_utils\._rebuild_tensor_v3|float[48]\w+|uint(16|32|64))$/,
    'it has tensors of a type that is not supported, such as float8, so save them with .float()',
  ],
  [
    /^torch\._utils\._rebuild_meta_tensor\w+$/,
    'it has tensors on the meta device, which have no values, so save the network after its weights are loaded',
  ],
  [
    /^torch\.distributed\.(tensor|_tensor|_shard)\.([\w.]+\.)?(DTensor|ShardedTensor)$/,
    'it has tensors that are sharded over processes, so save full ones: ' +
      'get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)) of torch.distributed.checkpoint.state_dict',
  ],
  [
    /^torch\.distributed\.checkpoint\.metadata\.Metadata$/,
    `it is part of a torch.distributed.checkpoint folder, ${toTorchSave}`,
  ],
  [
    /^torch\.storage\._load_from_bytes$/,
    'it was written with pickle.dump, so write it with torch.save instead',
  ],
];

/** A storage as a pickle refers to it; `length` counts elements. */
export interface StorageId {
  key: string;
  dtype: DType;
  length: number;
}

/**
 * Options for the pickles of a checkpoint.
 *
 * @param persistentLoad resolves a persistent id, in PyTorch's containers to a storage. Default: refuses all
 */
export function pickleRules(
  file: CheckpointFile,
  persistentLoad: PickleOptions['persistentLoad'] = () => {
    throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its pickle refers to a storage, where it can have none');
  },
): PickleOptions {
  return {
    globals,
    unsupported: name => unsupported.find(([names]) => names.test(name))?.[1],
    persistentLoad,
    fail: (code, problem) => file.fail(code, problem),
    made: {values: 0},
  };
}

/** Options for the pickles of PyTorch files; `makeStorage` is called once for each storage of the container. */
export function torchPickle(file: CheckpointFile, makeStorage: (id: StorageId) => Storage): PickleOptions {
  const storages = new Map<string, Storage>();
  const malformed = (): RepVGGError =>
    file.fail('ERR_CHECKPOINT_CORRUPT', 'its pickle has a malformed reference to a storage');

  // ('storage', type, key, location, length), in the legacy container followed by null or the part that is meant;
  // there also ('module', class, file, source), which carries the source code of a pickled module.
  function persistentLoad(id: unknown): unknown {
    const [kind, type, key, , length, part = null] = Array.isArray(id) ? id : [];
    if (kind === 'module' && type instanceof PythonName) return type;
    const dtype = storageType(type);
    if (kind !== 'storage' || !dtype || !isKey(key) || !isSize(length)) throw malformed();
    const storage = storages.get(key) ?? makeStorage({key, dtype, length});
    storages.set(key, storage);
    if (storage.dtype !== dtype || storage.length !== length) throw malformed();
    if (part === null) return storage;
    const [, first, count] = Array.isArray(part) ? part : [];
    if (!isSize(first) || !isSize(count) || first + count > length) throw malformed();
    return storage.part(first, count);
  }

  return pickleRules(file, persistentLoad);
}

/** The element type of a Python storage class, or undefined for any other value. */
export function storageType(type: unknown): DType | undefined {
  return type instanceof PythonName ? storageTypes.get(type.name) : undefined;
}

/** Keys are short decimal numbers. With long ones, a small pickle could build long strings over and over. */
export function isKey(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 64;
}

/**
 * `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata)`; the first version had only
 * four arguments. The optional metadata marks views that are the negative of what is stored.
 */
function rebuildTensor(args: readonly unknown[], context: PickleContext): TensorView {
  const [storage, offset, shape, stride, , , metadata] = args;
  if (metadata instanceof Map && [...metadata.values()].includes(true)) {
    const problem = 'it has a tensor that is the negative of what is stored, so save it with .resolve_neg()';
    throw context.unsupported(problem);
  }
  if (!(storage instanceof Storage) || !isSize(offset) || !isShape(shape) || !isShape(stride)) {
    throw context.corrupt('has a malformed tensor');
  }
  if (shape.length !== stride.length) throw context.corrupt('has a tensor with more sizes than strides');
  return new TensorView(storage, offset, shape, stride);
}

/** `_rebuild_from_type_v2(function, type, args, state)`: a tensor with attributes. */
function rebuildFromType([callee, , args]: readonly unknown[], context: PickleContext): unknown {
  return context.call(callee, args);
}

/** `_rebuild_wrapper_subclass(class, dtype, size, ...)`: a tensor whose class computes its values from other tensors. */
function refuseSubclass([type]: readonly unknown[], context: PickleContext): never {
  const name = type instanceof PythonName ? printable(type.name) : 'of another library';
  const advice = 'so save the network before it is converted to them, for example by quantisation';
  throw context.unsupported(`it has tensors of the class ${name}, which are not plain arrays, ${advice}`);
}
