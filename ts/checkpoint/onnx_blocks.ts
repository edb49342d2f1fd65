/** The blocks of a RepVGG network, found by following the graph of an ONNX model. */
import type {Floats} from '../network.ts';
import type {TensorInfo} from './checkpoint.ts';
import {type CheckpointFile, printable} from './file.ts';
import type {OnnxModel, OnnxNode} from './onnx_model.ts';
import {type TensorView, tensorInfo} from './storage.ts';

/** PyTorch's, and what the graph has where it says nothing. */
export const onnxEps = 1e-5;

/** Nodes that change no value: they stand for tensors that are equal, or of another type. */
const transparent = ['Identity', 'Cast', 'Dropout'];
const pools = ['GlobalAveragePool', 'AveragePool', 'ReduceMean'];
const reshapes = ['Flatten', 'Reshape', 'Squeeze'];
/** What may stand behind the classifier, since it changes no logit: what makes probabilities or takes the largest. */
const readouts = ['Softmax', 'LogSoftmax', 'Sigmoid', 'ArgMax', 'TopK', ...reshapes];

export type Tensor = Omit<TensorInfo, 'name'>;
export interface Normalisation {
  gamma: Tensor;
  beta: Tensor;
  mean: Tensor;
  variance: Tensor;
  eps: number;
}

export interface Convolution {
  size: number;
  stride: number;
  groups: number;
  /** Output channels. */
  channels: number;
  weight: Tensor;
  bias: Tensor | null;
  batchNorm: Normalisation | null;
  output: string;
}

export interface Gate {
  down: Convolution;
  up: Convolution;
  position: 'before-relu' | 'after-relu';
  output: string;
}

export interface Block {
  dense: Convolution;
  pointwise: Convolution | null;
  identity: Normalisation | null;
  gate: Gate | null;
}

interface Linear {
  /** [classes, channels] */
  weight: Tensor;
  bias: Tensor | null;
}

export interface OnnxNetwork {
  /** Side of the images that it takes, in pixels; null where it takes any, or says nothing. */
  inputSize: number | null;
  blocks: Block[];
  head: Linear | null;
}

/** @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED when the graph is not a chain of RepVGG blocks */
export function onnxNetwork(model: OnnxModel, file: CheckpointFile): OnnxNetwork {
  return new Graph(model, file).network();
}

/** Follows a graph from its input to its output. */
class Graph {
  readonly #model: OnnxModel;
  readonly #file: CheckpointFile;
  readonly #producers = new Map<string, OnnxNode>();
  readonly #consumers = new Map<string, OnnxNode[]>();
  /** What the outputs of transparent nodes are copies of. */
  readonly #copies = new Map<string, string>();

  constructor(model: OnnxModel, file: CheckpointFile) {
    this.#model = model;
    this.#file = file;
    for (const node of model.nodes) {
      if (transparent.includes(node.type)) {
        if (node.inputs[0] && node.outputs[0])
          this.#copies.set(node.outputs[0], this.#original(node.inputs[0]));
        continue;
      }
      for (const name of node.outputs) this.#producers.set(name, node);
      for (const name of new Set(node.inputs.map(input => this.#original(input)))) {
        const list = this.#consumers.get(name);
        if (list) list.push(node);
        else this.#consumers.set(name, [node]);
      }
    }
  }

  network(): OnnxNetwork {
    const {inputs} = this.#model;
    if (inputs.length !== 1)
      throw this.#unsupported(`it has ${inputs.length} inputs, where a network has one`);
    const blocks: Block[] = [];
    const [, depth, height, width] = inputs[0]!.shape;
    const inputSize = depth === 3 && height === width && height ? height : null;
    let features = inputs[0]!.name;
    let channels = 3;
    while (this.#uses(features).some(node => this.#isConvolution(node, 3))) {
      const {block, output} = this.#block(features, channels);
      blocks.push(block);
      features = output;
      channels = block.dense.channels;
    }
    if (blocks.length === 0) {
      const advice = 'so export it without what prepares images';
      throw this.#unsupported(
        `its input goes into ${this.#goesInto(features)}, not into a 3x3 convolution, ${advice}`,
      );
    }
    return {inputSize, blocks, head: this.#head(features)};
  }

  #block(input: string, channels: number): {block: Block; output: string} {
    const uses = this.#uses(input);
    const shown = `the block behind ${printable(input)}`;
    const only = <T>(list: T[], what: string): T | null => {
      if (list.length > 1) throw this.#unsupported(`${shown} has ${list.length} ${what}`);
      return list[0] ?? null;
    };
    const dense = this.#convolution(
      only(
        uses.filter(node => this.#isConvolution(node, 3)),
        '3x3 kernels',
      )!,
    );
    const pointNode = only(
      uses.filter(node => this.#isConvolution(node, 1)),
      '1x1 kernels',
    );
    const normNode = only(
      uses.filter(({type}) => type === 'BatchNormalization'),
      'identity branches',
    );
    const pointwise = pointNode && this.#convolution(pointNode);
    for (const branch of pointwise ? [dense, pointwise] : [dense]) {
      const {weight, groups, stride} = branch;
      if (weight.shape[1]! * groups !== channels || stride !== dense.stride) {
        const problem = `${shown} has a kernel of [${weight.shape.join(', ')}] for ${channels} channels`;
        throw this.#unsupported(`${problem}, with groups ${groups} and stride ${stride}`);
      }
    }
    const branches = [
      dense.output,
      ...(pointwise ? [pointwise.output] : []),
      ...(normNode?.outputs.slice(0, 1) ?? []),
    ];
    const sum = this.#sum(branches, shown);
    const gateBefore = this.#gate(sum, 'before-relu');
    const output = this.#one(gateBefore?.output ?? sum, 'Relu', shown).outputs[0]!;
    const gate = gateBefore ?? this.#gate(output, 'after-relu');
    const identity = normNode && this.#batchNorm(normNode);
    const end = gate && !gateBefore ? gate.output : output;
    return {block: {dense, pointwise, identity, gate}, output: end};
  }

  /** Follows additions until all branches are in one sum. */
  #sum(branches: readonly string[], shown: string): string {
    const open = new Set(branches);
    while (open.size > 1) {
      const adds = [...open]
        .flatMap(name => this.#uses(name))
        .filter(({type}) => type === 'Add' || type === 'Sum');
      const next = adds.find(({inputs}) => inputs.every(name => open.has(this.#original(name))));
      if (!next) throw this.#unsupported(`the branches of ${shown} are not added up`);
      for (const name of next.inputs) open.delete(this.#original(name));
      open.add(next.outputs[0]!);
    }
    return [...open][0]!;
  }

  /** Finds x * sigmoid(up(ReLU(down(mean of x)))), from its end. */
  #gate(features: string, position: Gate['position']): Gate | null {
    for (const node of this.#uses(features)) {
      if (node.type !== 'Mul') continue;
      const factor = node.inputs.find(name => this.#original(name) !== features);
      const sigmoid = this.#producer(factor, ['Sigmoid']);
      const up = this.#producer(sigmoid?.inputs[0], ['Conv']);
      const relu = this.#producer(up?.inputs[0], ['Relu']);
      const down = this.#producer(relu?.inputs[0], ['Conv']);
      const pool = this.#producer(down?.inputs[0], pools);
      if (!up || !down || !pool || this.#original(pool.inputs[0]!) !== features) continue;
      return {down: this.#convolution(down), up: this.#convolution(up), position, output: node.outputs[0]!};
    }
    return null;
  }

  /** The global pool, a change of shape and the classifier, behind which no other layer may come. */
  #head(features: string): Linear | null {
    const shown = `the end behind ${printable(features)}`;
    const uses = this.#uses(features);
    if (uses.length === 0) return null;
    if (uses.length !== 1 || !pools.includes(uses[0]!.type)) throw this.#unexpected(features, shown);
    let name = uses[0]!.outputs[0]!;
    for (;;) {
      const next = this.#uses(name);
      if (next.length === 0) return null;
      if (next.length > 1) throw this.#unexpected(name, shown);
      const {type, outputs} = next[0]!;
      if (type === 'Gemm') return this.#gemm(next[0]!);
      if (type === 'MatMul') return this.#matMul(next[0]!);
      if (!reshapes.includes(type)) throw this.#unexpected(name, shown);
      name = outputs[0]!;
    }
  }

  #gemm({inputs, outputs, attributes}: OnnxNode): Linear {
    const number = (name: string, value: number): number => numeric(attributes.get(name), value);
    if (number('alpha', 1) !== 1 || number('beta', 1) !== 1 || number('transA', 0) !== 0) {
      throw this.#unsupported('its classifier is scaled or transposed');
    }
    this.#checkEnd(outputs[0]!);
    const weight = this.#tensor(inputs[1], 2);
    const bias = inputs[2] ? this.#tensor(inputs[2], 1) : null;
    return {weight: number('transB', 0) === 1 ? weight : transposed(weight), bias};
  }

  #matMul({inputs, outputs}: OnnxNode): Linear {
    const weight = transposed(this.#tensor(inputs[1], 2));
    const [next] = this.#uses(outputs[0]!);
    if (next?.type !== 'Add') {
      this.#checkEnd(outputs[0]!);
      return {weight, bias: null};
    }
    this.#checkEnd(next.outputs[0]!);
    return {
      weight,
      bias: this.#tensor(
        next.inputs.find(name => this.#original(name) !== outputs[0]),
        1,
      ),
    };
  }

  #checkEnd(logits: string): void {
    const names = new Set([logits]);
    for (const name of names) {
      const uses = this.#uses(name);
      if (uses.some(({type}) => !readouts.includes(type)))
        throw this.#unexpected(name, 'the end behind its classifier');
      for (const output of uses.flatMap(({outputs}) => outputs)) names.add(output);
    }
  }

  #isConvolution({type, inputs}: OnnxNode, size: number): boolean {
    if (type !== 'Conv') return false;
    const {shape} = this.#view(inputs[1]);
    return shape.length === 4 && shape[2] === size && shape[3] === size;
  }

  #convolution(node: OnnxNode): Convolution {
    const {inputs, outputs, attributes} = node;
    const weight = this.#tensor(inputs[1], 4);
    const [channels, , size] = weight.shape as [number, number, number, number];
    const list = (name: string, length: number, value: number): readonly number[] => {
      const given = attributes.get(name);
      return Array.isArray(given) && given.length > 0 ? given : Array(length).fill(value);
    };
    const pads = list('pads', 4, 0);
    const strides = list('strides', 2, 1);
    const all = (values: readonly number[], wanted: number): boolean =>
      values.every(value => value === wanted);
    const padding = Math.trunc(size / 2);
    const ordinary =
      all(pads, padding) && all(list('dilations', 2, 1), 1) && (all(strides, 1) || all(strides, 2));
    if (!ordinary || weight.shape[3] !== size) {
      throw this.#unsupported(
        `its convolution into ${printable(outputs[0]!)} has padding [${pads.join(', ')}] and strides [${strides.join(', ')}], ` +
          'which no RepVGG has',
      );
    }
    const following = this.#uses(outputs[0]!);
    const norm = following.length === 1 && following[0]!.type === 'BatchNormalization' ? following[0]! : null;
    return {
      size,
      channels,
      weight,
      stride: strides[0]!,
      groups: numeric(attributes.get('group'), 1),
      bias: inputs[2] ? this.#tensor(inputs[2], 1) : null,
      batchNorm: norm && this.#batchNorm(norm),
      output: norm ? norm.outputs[0]! : outputs[0]!,
    };
  }

  #batchNorm({inputs, attributes}: OnnxNode): Normalisation {
    const [gamma, beta, mean, variance] = inputs.slice(1).map(name => this.#tensor(name, 1));
    if (!gamma || !beta || !mean || !variance)
      throw this.#unsupported('it has an incomplete batch normalisation');
    // The attribute is a float32.
    const given = numeric(attributes.get('epsilon'), onnxEps);
    return {gamma, beta, mean, variance, eps: given === Math.fround(onnxEps) ? onnxEps : given};
  }

  /** The nodes that take a tensor, or a copy of it. */
  #uses(name: string): readonly OnnxNode[] {
    return this.#consumers.get(name) ?? [];
  }

  #original(name: string): string {
    return this.#copies.get(name) ?? name;
  }

  #producer(name: string | undefined, types: readonly string[]): OnnxNode | undefined {
    const node = name === undefined ? undefined : this.#producers.get(this.#original(name));
    return node && types.includes(node.type) ? node : undefined;
  }

  #one(name: string, type: string, shown: string): OnnxNode {
    const uses = this.#uses(name);
    if (uses.length === 1 && uses[0]!.type === type) return uses[0]!;
    throw this.#unexpected(name, shown);
  }

  /** A weight: an initializer, or the value of a Constant. */
  #view(name: string | undefined): TensorView {
    const original = this.#original(name ?? '');
    const found = this.#model.tensors.get(original) ?? this.#producers.get(original)?.attributes.get('value');
    if (typeof found === 'string') throw this.#unsupported(found);
    if (found && typeof found === 'object' && 'storage' in found) return found;
    const type = this.#producers.get(original)?.type;
    const problem = `its weight ${printable(name ?? '')} is ${type ? `computed by ${printable(type)}` : 'no tensor'}`;
    throw this.#unsupported(
      `${problem}, so export the network as it was before quantisation, with its weights`,
    );
  }

  #tensor(name: string | undefined, dimensions: number): Tensor {
    const info = tensorInfo(name ?? '', this.#view(name), this.#file);
    if (info.shape.length === dimensions && !info.shape.includes(0)) return info;
    const problem = `tensor ${printable(info.name)} of shape [${info.shape.join(', ')}]`;
    throw this.#unsupported(`${problem} should have ${dimensions} dimensions`);
  }

  #unexpected(name: string, shown: string): Error {
    return this.#unsupported(`${shown}: ${printable(name)} goes into ${this.#goesInto(name)}`);
  }

  #goesInto(name: string): string {
    const types = this.#uses(name).map(({type}) => type);
    return printable(types.join(', ')) || 'nothing';
  }

  #unsupported(problem: string): Error {
    return this.#file.fail('ERR_CHECKPOINT_UNSUPPORTED', `its graph is not a RepVGG network: ${problem}`);
  }
}

function transposed(tensor: Tensor): Tensor {
  const [rows, columns] = tensor.shape as [number, number];
  const read = async (): Promise<Floats> => {
    const values = await tensor.read();
    return values.map((_, i) => values[(i % rows) * columns + Math.trunc(i / rows)]!);
  };
  return {dtype: tensor.dtype, shape: [columns, rows], read};
}

function numeric(attribute: unknown, fallback: number): number {
  return typeof attribute === 'number' ? attribute : fallback;
}
