/** Parses the parts of ONNX files that convolutional networks need: nodes, inputs and weights. */
import {type CheckpointFile, printable} from '../file.ts';
import {ProtobufReader, signed} from '../protobuf.ts';
import {type OnnxTensor, OnnxTensorReader} from './tensors.ts';

export interface OnnxNode {
  type: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** Attributes that are texts or graphs are left out. */
export type OnnxAttribute = number | readonly number[] | OnnxTensor;

export interface OnnxInput {
  name: string;
  /** Empty if not stated; null for a free dimension. */
  shape: readonly (number | null)[];
}

export interface OnnxModel {
  /** In topological order. */
  nodes: readonly OnnxNode[];
  /** Initializers. */
  tensors: ReadonlyMap<string, OnnxTensor>;
  /** Inputs that are not initializers. */
  inputs: readonly OnnxInput[];
}

// Field numbers: onnx/onnx.proto in github.com/onnx/onnx.
const modelField = {graph: 7} as const;
const graphField = {node: 1, initializer: 5, input: 11, sparseInitializer: 15} as const;
const nodeField = {input: 1, output: 2, type: 4, attribute: 5, domain: 7} as const;
const attributeField = {name: 1, float: 2, integer: 3, tensor: 5, integers: 8} as const;
const inputField = {name: 1, type: 2} as const;
/** Of TypeProto, of its tensor type, of TensorShapeProto and of its dimensions. */
const shapeField = {tensor: 1, shape: 2, dimension: 1, size: 1} as const;

/** A D2se in training form has some 1,500 of each. */
const maxNodes = 20_000;
/** Fields of one node, and dimensions of one input. */
const [maxParts, maxInputDimensions] = [256, 64];

/** The field `ir_version`, a small number, followed by another field of a model. */
export function isOnnx(head: Buffer): boolean {
  const others = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];
  return head[0] === 0x08 && head[1]! > 0 && head[1]! < 0x40 && others.includes(head[2]!);
}

/** @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_UNSUPPORTED, ERR_CHECKPOINT_UNSAFE or ERR_CHECKPOINT_TRUNCATED */
export async function parseOnnx(file: CheckpointFile): Promise<OnnxModel> {
  return new Parser(new ProtobufReader(file, 'its graph')).model();
}

class Parser {
  readonly #reader: ProtobufReader;
  readonly #tensors: OnnxTensorReader;

  constructor(reader: ProtobufReader) {
    this.#reader = reader;
    this.#tensors = new OnnxTensorReader(reader);
  }

  async model(): Promise<OnnxModel> {
    const graphs: OnnxModel[] = [];
    const {file} = this.#reader;
    for await (const {end} of this.#reader.messages(file.size, modelField.graph, 'its model'))
      graphs.push(await this.#graph(end));
    const [graph] = graphs;
    if (graph && graphs.length === 1) return graph;
    throw this.#reader.corrupt(`its model has ${graphs.length} graphs`);
  }

  async #graph(end: number): Promise<OnnxModel> {
    const nodes: OnnxNode[] = [];
    const tensors = new Map<string, OnnxTensor>();
    const inputs: OnnxInput[] = [];
    for await (const field of this.#reader.fields(end, 'its graph')) {
      if (field.kind !== 'bytes') continue;
      if (field.number === graphField.node) nodes.push(await this.#node(field.end));
      if (field.number === graphField.initializer) {
        const {name, tensor} = await this.#tensors.read(field.end);
        if (tensors.has(name)) throw this.#reader.corrupt(`it has two tensors named ${printable(name)}`);
        tensors.set(name, tensor);
      }
      if (field.number === graphField.input) inputs.push(await this.#input(field.end));
      if (field.number === graphField.sparseInitializer)
        throw this.#reader.unsupported('it has sparse tensors, so export the network with dense ones');
      if (Math.max(nodes.length, tensors.size, inputs.length) > maxNodes)
        throw this.#reader.unsupported(`its graph has more than ${maxNodes} nodes or tensors`);
    }
    const names = inputs.map(({name}) => name);
    this.#checkOrder(nodes, tensors, names);
    return {nodes, tensors, inputs: inputs.filter(({name}) => !tensors.has(name))};
  }

  /** Checks that every tensor is produced once, before it is consumed; so the graph has no cycles. */
  #checkOrder(
    nodes: readonly OnnxNode[],
    tensors: ReadonlyMap<string, unknown>,
    inputs: readonly string[],
  ): void {
    const made = new Set(['', ...tensors.keys(), ...inputs]);
    for (const {type, inputs, outputs} of nodes) {
      if (outputs.length === 0) throw this.#reader.corrupt(`a node ${printable(type)} makes nothing`);
      const early = inputs.find(name => !made.has(name));
      if (early !== undefined) {
        throw this.#reader.corrupt(
          `a node ${printable(type)} takes ${printable(early)}, which nothing before it makes`,
        );
      }
      for (const name of outputs) {
        if (name !== '' && made.has(name))
          throw this.#reader.corrupt(`${printable(name)} is made twice in its graph`);
        made.add(name);
      }
    }
  }

  async #node(end: number): Promise<OnnxNode> {
    const inputs: string[] = [];
    const outputs: string[] = [];
    const attributes = new Map<string, OnnxAttribute>();
    let type = '';
    let domain = '';
    let parts = 0;
    for await (const field of this.#reader.fields(end, 'a node')) {
      if (++parts > maxParts) throw this.#reader.unsupported('it has a node of too many parts');
      if (field.kind !== 'bytes') continue;
      if (field.number === nodeField.input) inputs.push(await this.#reader.text(field));
      if (field.number === nodeField.output) outputs.push(await this.#reader.text(field));
      if (field.number === nodeField.type) type = await this.#reader.text(field);
      if (field.number === nodeField.domain) domain = await this.#reader.text(field);
      if (field.number === nodeField.attribute) await this.#attribute(field.end, attributes);
    }
    const standard = domain === '' || domain === 'ai.onnx';
    return {type: standard ? type : `${domain}.${type}`, inputs, outputs, attributes};
  }

  async #attribute(end: number, attributes: Map<string, OnnxAttribute>): Promise<void> {
    let name = '';
    let value: OnnxAttribute | undefined;
    const integers: number[] = [];
    for await (const field of this.#reader.fields(end, 'an attribute')) {
      if (field.number === attributeField.name && field.kind === 'bytes')
        name = await this.#reader.text(field);
      if (field.number === attributeField.float && field.kind === 'fixed') value = floatOf(field.bytes);
      if (field.number === attributeField.integer && field.kind === 'integer') value = signed(field.value);
      if (field.number === attributeField.tensor && field.kind === 'bytes') {
        value = (await this.#tensors.read(field.end)).tensor;
      }
      if (field.number === attributeField.integers) await this.#reader.integers(field, integers);
    }
    attributes.set(name, value ?? integers);
  }

  async #input(end: number): Promise<OnnxInput> {
    let name = '';
    let shape: OnnxInput['shape'] = [];
    for await (const field of this.#reader.fields(end, 'an input')) {
      if (field.kind !== 'bytes') continue;
      if (field.number === inputField.name) name = await this.#reader.text(field);
      if (field.number === inputField.type) shape = await this.#shape(field.end);
    }
    return {name, shape};
  }

  async #shape(end: number): Promise<OnnxInput['shape']> {
    const reader = this.#reader;
    const [type, what] = ['the type of an input', 'the shape of an input'] as const;
    const shape: (number | null)[] = [];
    for await (const tensor of reader.messages(end, shapeField.tensor, type)) {
      for await (const {end} of reader.messages(tensor.end, shapeField.shape, type)) {
        for await (const dimension of reader.messages(end, shapeField.dimension, what)) {
          if (shape.length === maxInputDimensions)
            throw reader.corrupt('it has an input of too many dimensions');
          let size: number | null = null;
          for await (const value of reader.fields(dimension.end, 'a dimension')) {
            if (value.kind === 'integer' && value.number === shapeField.size) size = signed(value.value);
          }
          shape.push(size);
        }
      }
    }
    return shape;
  }
}

function floatOf(bytes: Buffer): number {
  return bytes.length === 4 ? bytes.readFloatLE() : NaN;
}
