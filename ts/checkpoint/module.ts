import {type CheckpointFile, printable} from './file.ts';
import {PythonObject} from './python_objects.ts';

/** Modules, parameters and buffers. The largest RepVGG has some 2,000; each costs a name here, and few bytes in a file. */
const maxMembers = 20_000;
/** Characters of a name with those of the modules around it. */
const maxNameLength = 512;

const activation = /^torch\.nn\.modules\.activation\.(.*)$/;
/** Those of RepVGG and its squeeze-and-excite, and what people put behind a classifier. */
const activations = ['ReLU', 'Sigmoid', 'Softmax', 'LogSoftmax'];

/** An object of whatever class that has what torch.nn.Module keeps its parameters in. */
export function isModule(value: unknown): value is PythonObject {
  if (!(value instanceof PythonObject)) return false;
  const {attributes} = value;
  return attributes.get('_parameters') instanceof Map && attributes.get('_modules') instanceof Map;
}

/** What a module holds. */
export interface ModuleContent {
  tensors: Map<string, unknown>;
  /** What its batch normalisations add to the variance, which no state dict has. */
  eps: number | undefined;
}

/**
 * The state dict of a module that was pickled whole, `torch.save(model)`: parameters, buffers but for those that are not
 * saved, and those of its modules, with names as torch.nn.Module.state_dict gives them. Neither its classes nor their
 * code are needed.
 *
 * @param count of the parts of all modules of a file, which are as many as of one
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED when it has too many parts, as a module within itself has, or batch
 *   normalisations that add different numbers, or computes what no RepVGG does
 */
export function moduleContent(
  root: PythonObject,
  file: CheckpointFile,
  count: {members: number},
): ModuleContent {
  const tensors = new Map<string, unknown>();
  let eps: number | undefined;

  function* members(dict: unknown, prefix: string): Generator<[name: string, value: unknown]> {
    for (const [key, value] of dict instanceof Map ? dict : []) {
      if (typeof key !== 'string') continue;
      const name = prefix + key;
      if (++count.members > maxMembers || name.length > maxNameLength) {
        const problem = `it is a module of more than ${maxMembers} parts, or of modules within each other without end`;
        throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
      }
      yield [name, value];
    }
  }

  function noteEps(attributes: PythonObject['attributes'], name: string): void {
    const [own, buffers] = [attributes.get('eps'), attributes.get('_buffers')];
    if (typeof own !== 'number' || !(buffers instanceof Map && buffers.has('running_var'))) return;
    if (own !== (eps ?? own)) {
      const problem = `its batch normalisations add ${eps} to the variance, but ${printable(name)} adds ${own}`;
      throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
    eps = own;
  }

  /** Names and shapes of tensors are those of a RepVGG whatever its convolutions and activations are. */
  function checkKind({className, attributes}: PythonObject, name: string): void {
    const [dilation, padding] = [attributes.get('dilation'), attributes.get('padding_mode') ?? 'zeros'];
    const own = activation.exec(className)?.[1];
    const isForeign =
      (own !== undefined && !activations.includes(own)) ||
      (Array.isArray(dilation) && dilation.some(step => step !== 1)) ||
      padding !== 'zeros';
    if (!isForeign) return;
    const kind =
      own ?? (padding === 'zeros' ? `dilation ${dilation}` : `padding ${printable(String(padding))}`);
    const problem = `its module ${printable(name)} ${own ? 'is' : 'has'} ${kind}, where RepVGG has plain convolutions and ReLU`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  function visit(module: PythonObject, prefix: string): void {
    const {attributes} = module;
    noteEps(attributes, prefix.slice(0, -1));
    checkKind(module, prefix.slice(0, -1));
    const transient = attributes.get('_non_persistent_buffers_set');
    const isTransient = (name: string): boolean =>
      transient instanceof Set && transient.has(name.slice(prefix.length));
    for (const [name, parameter] of members(attributes.get('_parameters'), prefix))
      tensors.set(name, parameter);
    for (const [name, buffer] of members(attributes.get('_buffers'), prefix)) {
      if (!isTransient(name)) tensors.set(name, buffer);
    }
    for (const [name, module] of members(attributes.get('_modules'), prefix)) {
      if (isModule(module)) visit(module, `${name}.`);
    }
  }

  visit(root, '');
  return {tensors, eps};
}
