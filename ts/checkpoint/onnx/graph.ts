import type {TensorInfo} from '../checkpoint.ts';
import {type CheckpointFile, printable} from '../file.ts';
import {type TensorView, tensorInfo} from '../storage.ts';
import type {OnnxInput, OnnxModel, OnnxNode} from './model.ts';

/** Nodes that leave values as they are, except perhaps their type. */
const transparent = ['Identity', 'Cast', 'Dropout'];
/** The node that takes nothing of a tensor but its sizes, from which PyTorch computes those of a Reshape. */
const sizes = 'Shape';

/** A weight, without its name: exporters choose names freely. */
export type OnnxWeight = Omit<TensorInfo, 'name'>;

/** A model's graph: the nodes that produce and consume each tensor. Copies of a tensor count as the tensor itself. */
export class OnnxGraph {
  readonly inputs: readonly OnnxInput[];
  readonly #tensors: OnnxModel['tensors'];
  readonly #file: CheckpointFile;
  readonly #producers = new Map<string, OnnxNode>();
  readonly #consumers = new Map<string, OnnxNode[]>();
  /** The original of each output of a transparent node. */
  readonly #copies = new Map<string, string>();

  constructor({nodes, tensors, inputs}: OnnxModel, file: CheckpointFile) {
    this.inputs = inputs;
    this.#tensors = tensors;
    this.#file = file;
    for (const node of nodes) {
      const [input, output] = [node.inputs[0], node.outputs[0]];
      if (transparent.includes(node.type)) {
        if (input && output) this.#copies.set(output, this.original(input));
        continue;
      }
      for (const name of node.outputs) this.#producers.set(name, node);
      if (node.type === sizes) continue;
      for (const name of new Set(node.inputs.map(input => this.original(input)))) {
        const list = this.#consumers.get(name);
        if (list) list.push(node);
        else this.#consumers.set(name, [node]);
      }
    }
  }

  /** The tensor that `name` is a copy of, or itself. */
  original(name: string): string {
    return this.#copies.get(name) ?? name;
  }

  /** The nodes that consume the values of a tensor, or of a copy of it. */
  uses(name: string): readonly OnnxNode[] {
    return this.#consumers.get(name) ?? [];
  }

  /** The node that produces a tensor, if it is of one of these types. */
  producer(name: string | undefined, types: readonly string[]): OnnxNode | undefined {
    const node = name === undefined ? undefined : this.#producers.get(this.original(name));
    return node && types.includes(node.type) ? node : undefined;
  }

  /** A weight with this many dimensions: an initializer, or the value of a Constant. */
  weight(name: string | undefined, dimensions: number): OnnxWeight {
    const info = tensorInfo(name ?? '', this.#view(name), this.#file);
    if (info.shape.length === dimensions && !info.shape.includes(0)) return info;
    const problem = `tensor ${printable(info.name)} of shape [${info.shape.join(', ')}]`;
    throw this.unsupported(`${problem} should have ${dimensions} dimensions`);
  }

  shapeOfWeight(name: string | undefined): readonly number[] {
    return this.#view(name).shape;
  }

  /** The types of the nodes that consume a tensor, for error messages. */
  goesInto(name: string): string {
    return (
      printable(
        this.uses(name)
          .map(({type}) => type)
          .join(', '),
      ) || 'nothing'
    );
  }

  /** The error for a tensor that is consumed by other nodes than in a RepVGG network. */
  unexpected(name: string, shown: string): Error {
    return this.unsupported(`${shown}: ${printable(name)} goes into ${this.goesInto(name)}`);
  }

  unsupported(problem: string): Error {
    return this.#file.fail('ERR_CHECKPOINT_UNSUPPORTED', `its graph is not a RepVGG network: ${problem}`);
  }

  #view(name: string | undefined): TensorView {
    const original = this.original(name ?? '');
    const producer = this.#producers.get(original);
    const found = this.#tensors.get(original) ?? producer?.attributes.get('value');
    if (typeof found === 'string') throw this.unsupported(found);
    if (found && typeof found === 'object' && 'storage' in found) return found;
    const what = producer ? `computed by ${printable(producer.type)}` : 'no tensor';
    throw this.unsupported(
      `its weight ${printable(name ?? '')} is ${what}, so export the network as it was before quantisation, with its weights`,
    );
  }
}
