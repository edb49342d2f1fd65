import {shownValue} from '../support/plain_text.ts';
import {type CheckpointFile, printable} from './file.ts';
import {PythonObject} from './pickle/python_objects.ts';

/** Modules, parameters and buffers. The largest RepVGG has some 2,000; a hostile file could share one module many times. */
const maxMembers = 20_000;
/** Characters of a qualified name. */
const maxNameLength = 512;

const activation = /^torch\.nn\.modules\.activation\.(.*)$/;
/** The activations of RepVGG and its squeeze-and-excite, and those that are added after classifiers. */
const activations = ['ReLU', 'Sigmoid', 'Softmax', 'LogSoftmax'];

/** Whether an object, whatever its class, has the dicts in which torch.nn.Module keeps parameters and submodules. */
export function isModule(value: unknown): value is PythonObject {
  if (!(value instanceof PythonObject)) return false;
  const {attributes} = value;
  return attributes.get('_parameters') instanceof Map && attributes.get('_modules') instanceof Map;
}

/** The tensors of a module, by name. */
export interface ModuleContent {
  tensors: Map<string, unknown>;
  /** Epsilon of its batch normalisations, which a state dict does not contain. */
  eps: number | undefined;
}

/**
 * The state dict of a module that was pickled whole, by `torch.save(model)`: the parameters and persistent buffers of the
 * module and its submodules, named as by torch.nn.Module.state_dict. Neither its classes nor their code are needed.
 *
 * @param count members counted so far, over all modules of the file
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED for too many members (a module may contain itself), different epsilons,
 *   or layers that RepVGG does not have
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

  /** Names and shapes of tensors do not tell how a convolution pads and dilates, or which activation follows. */
  function checkKind({className, attributes}: PythonObject, name: string): void {
    const [dilation, padding] = [attributes.get('dilation'), attributes.get('padding_mode') ?? 'zeros'];
    const own = activation.exec(className)?.[1];
    const isForeign =
      (own !== undefined && !activations.includes(own)) ||
      (Array.isArray(dilation) && dilation.some(step => step !== 1)) ||
      padding !== 'zeros';
    if (!isForeign) return;
    const kind =
      own ?? (padding === 'zeros' ? `dilation ${shownValue(dilation)}` : `padding ${shownValue(padding)}`);
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
