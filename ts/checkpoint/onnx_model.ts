/** ONNX files as far as networks of convolutions need them: nodes, and tensors that stay where they are. */
import type {ByteRange} from './byte_window.ts';
import {ByteWindow} from './byte_window.ts';
import type {DType} from './checkpoint.ts';
import {type ByteSource, type CheckpointFile, printable} from './file.ts';
import {type ProtobufField, ProtobufReader} from './protobuf.ts';
import {elementTypes, rowMajorStride, Storage, TensorView} from './storage.ts';

export interface OnnxNode {
  type: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** A tensor, or what keeps it from being read, should anybody ask: constants of shapes come in forms that weights do not. */
export type OnnxTensor = TensorView | string;

/** Texts and graphs are left out. */
export type OnnxAttribute = number | readonly number[] | OnnxTensor;

export interface OnnxInput {
  name: string;
  /** Empty where it is not said; null for a size that is free. */
  shape: readonly (number | null)[];
}

export interface OnnxModel {
  /** In an order in which each comes after those whose outputs it takes. */
  nodes: readonly OnnxNode[];
  /** Initializers. */
  tensors: ReadonlyMap<string, OnnxTensor>;
  /** Inputs that are not initializers. */
  inputs: readonly OnnxInput[];
  outputs: readonly string[];
}

// The numbers of fields and types: github.com/onnx/onnx, onnx/onnx.proto.
const modelField = {graph: 7} as const;
const graphField = {node: 1, initializer: 5, input: 11, output: 12, sparseInitializer: 15} as const;
const nodeField = {input: 1, output: 2, type: 4, attribute: 5, domain: 7} as const;
const attributeField = {name: 1, float: 2, integer: 3, tensor: 5, integers: 8} as const;
const tensorField = {
  dims: 1,
  dataType: 2,
  floats: 4,
  name: 8,
  raw: 9,
  doubles: 10,
  external: 13,
  location: 14,
} as const;
const inputField = {name: 1, type: 2} as const;
/** Of a type, of a tensor's type, and of a shape. */
const shapeField = {tensor: 1, shape: 2, dim: 1, size: 1} as const;
const entryField = {key: 1, value: 2} as const;

const dtypes: ReadonlyMap<number, DType> = new Map([
  [1, 'f32'],
  [2, 'u8'],
  [3, 'i8'],
  [5, 'i16'],
  [6, 'i32'],
  [7, 'i64'],
  [9, 'bool'],
  [10, 'f16'],
  [11, 'f64'],
  [16, 'bf16'],
]);

/** A D2se in training form has some 1,500 of each. */
const maxNodes = 20_000;
/** Inputs, outputs, attributes, dimensions: of one thing. */
const maxParts = 64;
const maxTextBytes = 1024;
const maxExternalFiles = 256;

/** The field `ir_version`, a small number, and then one of the other fields of a model. */
export function isOnnx(head: Buffer): boolean {
  const others = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];
  return head[0] === 0x08 && head[1]! > 0 && head[1]! < 0x40 && others.includes(head[2]!);
}

/** @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_UNSUPPORTED, ERR_CHECKPOINT_UNSAFE or ERR_CHECKPOINT_TRUNCATED */
export async function parseOnnx(file: CheckpointFile): Promise<OnnxModel> {
  return new Parser(file).model();
}

class Parser {
  readonly #file: CheckpointFile;
  readonly #window: ByteWindow;
  readonly #reader: ProtobufReader;
  readonly #external = new Map<string, Promise<CheckpointFile>>();

  constructor(file: CheckpointFile) {
    this.#file = file;
    this.#window = new ByteWindow(file, 'its graph');
    this.#reader = new ProtobufReader(this.#window, file.fail.bind(file));
  }

  async model(): Promise<OnnxModel> {
    const graphs: OnnxModel[] = [];
    for await (const field of this.#fields(this.#file.size, 'its model')) {
      if (field.number === modelField.graph && field.kind === 'bytes')
        graphs.push(await this.#graph(field.end));
    }
    const [graph] = graphs;
    if (graph && graphs.length === 1) return graph;
    throw this.#corrupt(`its model has ${graphs.length} graphs`);
  }

  async #graph(end: number): Promise<OnnxModel> {
    const nodes: OnnxNode[] = [];
    const tensors = new Map<string, OnnxTensor>();
    const inputs: OnnxInput[] = [];
    const outputs: string[] = [];
    for await (const field of this.#fields(end, 'its graph')) {
      if (field.kind !== 'bytes') continue;
      if (field.number === graphField.node) nodes.push(await this.#node(field.end));
      if (field.number === graphField.initializer) {
        const {name, view} = await this.#tensor(field.end);
        if (tensors.has(name)) throw this.#corrupt(`it has two tensors named ${printable(name)}`);
        tensors.set(name, view);
      }
      if (field.number === graphField.input) inputs.push(await this.#input(field.end));
      if (field.number === graphField.output) outputs.push((await this.#input(field.end)).name);
      if (field.number === graphField.sparseInitializer) throw this.#unsupported('it has sparse tensors');
      if (Math.max(nodes.length, tensors.size, inputs.length, outputs.length) > maxNodes) {
        throw this.#unsupported(`its graph has more than ${maxNodes} nodes or tensors`);
      }
    }
    this.#checkOrder(
      nodes,
      tensors,
      inputs.map(({name}) => name),
    );
    return {nodes, tensors, inputs: inputs.filter(({name}) => !tensors.has(name)), outputs};
  }

  /** What a node takes has been made before it, and only once; so nothing goes round in circles. */
  #checkOrder(
    nodes: readonly OnnxNode[],
    tensors: ReadonlyMap<string, unknown>,
    inputs: readonly string[],
  ): void {
    const made = new Set(['', ...tensors.keys(), ...inputs]);
    for (const {type, inputs, outputs} of nodes) {
      if (outputs.length === 0) throw this.#corrupt(`a node ${printable(type)} makes nothing`);
      const early = inputs.find(name => !made.has(name));
      if (early !== undefined) {
        throw this.#corrupt(
          `a node ${printable(type)} takes ${printable(early)}, which nothing before it makes`,
        );
      }
      for (const name of outputs) {
        if (name !== '' && made.has(name))
          throw this.#corrupt(`${printable(name)} is made twice in its graph`);
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
    for await (const field of this.#fields(end, 'a node')) {
      if (++parts > 4 * maxParts) throw this.#unsupported('it has a node of too many parts');
      if (field.kind !== 'bytes') continue;
      if (field.number === nodeField.input) inputs.push(await this.#text(field));
      if (field.number === nodeField.output) outputs.push(await this.#text(field));
      if (field.number === nodeField.type) type = await this.#text(field);
      if (field.number === nodeField.domain) domain = await this.#text(field);
      if (field.number === nodeField.attribute) await this.#attribute(field.end, attributes);
    }
    const standard = domain === '' || domain === 'ai.onnx';
    return {type: standard ? type : `${domain}.${type}`, inputs, outputs, attributes};
  }

  async #attribute(end: number, attributes: Map<string, OnnxAttribute>): Promise<void> {
    let name = '';
    let value: OnnxAttribute | undefined;
    const integers: number[] = [];
    for await (const field of this.#fields(end, 'an attribute')) {
      if (field.number === attributeField.name && field.kind === 'bytes') name = await this.#text(field);
      if (field.number === attributeField.float && field.kind === 'fixed') value = floatOf(field.bytes);
      if (field.number === attributeField.integer && field.kind === 'integer') value = signed(field.value);
      if (field.number === attributeField.tensor && field.kind === 'bytes') {
        value = (await this.#tensor(field.end)).view;
      }
      if (field.number === attributeField.integers) await this.#integers(field, integers);
    }
    attributes.set(name, value ?? integers);
  }

  async #tensor(end: number): Promise<{name: string; view: OnnxTensor}> {
    const shape: number[] = [];
    const external = new Map<string, string>();
    let name = '';
    let type = 0;
    let isExternal = false;
    let data: ByteRange | undefined;
    for await (const field of this.#fields(end, 'a tensor')) {
      const {number} = field;
      if (number === tensorField.dims) await this.#integers(field, shape);
      if (field.kind === 'integer') {
        if (number === tensorField.dataType) type = Number(field.value);
        if (number === tensorField.location) isExternal = field.value === 1n;
      }
      if (field.kind !== 'bytes') continue;
      if (number === tensorField.name) name = await this.#text(field);
      if (number === tensorField.external) await this.#entry(field.end, external);
      if (number === tensorField.raw || number === tensorField.floats || number === tensorField.doubles) {
        if (data) throw this.#unsupported(`tensor ${printable(name)} is in several pieces`);
        data = this.#window.range(field.start, field.end - field.start);
      }
    }
    const shown = `tensor ${printable(name)} of shape [${shape.join(', ')}]`;
    const dtype = dtypes.get(type);
    if (shape.some(size => size < 0)) throw this.#corrupt(`${shown} has a negative size`);
    if (!dtype) return {name, view: `${shown} has ONNX's data type ${type}`};
    const elements = shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
    const bytes = elements * elementTypes[dtype].bytes;
    if (isExternal) data = await this.#externalData(external, bytes, shown);
    if (elements > 0 && !data) return {name, view: `${shown} is not stored as raw data`};
    if (elements > 0 && data!.length !== bytes) {
      throw this.#corrupt(`${shown} has ${data!.length} bytes, not ${bytes}`);
    }
    const source: ByteSource = data ?? {readInto: async () => {}};
    return {
      name,
      view: new TensorView(new Storage(dtype, elements, true, source, true), 0, shape, rowMajorStride(shape)),
    };
  }

  /** Data in a file beside this one: its name, and where in it the tensor is. */
  async #externalData(
    entries: ReadonlyMap<string, string>,
    bytes: number,
    shown: string,
  ): Promise<ByteRange> {
    const location = entries.get('location') ?? '';
    const offset = this.#decimal(entries.get('offset') ?? '0');
    const length = this.#decimal(entries.get('length') ?? String(bytes));
    if (!this.#external.has(location)) {
      if (this.#external.size === maxExternalFiles)
        throw this.#unsupported('its tensors are in too many files');
      this.#external.set(location, this.#file.openSibling(location));
    }
    const file = await this.#external.get(location)!;
    if (offset + length > file.size) {
      const problem = `the file ends at byte ${file.size} but ${shown} of ${printable(this.#file.path)} ends at`;
      throw file.fail('ERR_CHECKPOINT_TRUNCATED', `${problem} ${offset + length}`);
    }
    return new ByteWindow(file, shown).range(offset, length);
  }

  #decimal(text: string): number {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (Number.isSafeInteger(value)) return value;
    throw this.#corrupt(`it has ${printable(text)} where an offset or a length should be`);
  }

  async #entry(end: number, entries: Map<string, string>): Promise<void> {
    let [key, value] = ['', ''];
    for await (const field of this.#fields(end, 'a reference to another file')) {
      if (field.kind !== 'bytes') continue;
      if (field.number === entryField.key) key = await this.#text(field);
      if (field.number === entryField.value) value = await this.#text(field);
    }
    entries.set(key, value);
    if (entries.size > maxParts) throw this.#corrupt('it has a reference to another file of too many parts');
  }

  /** Numbers one by one, as the ONNX library writes them, or packed. */
  async #integers(field: ProtobufField, list: number[]): Promise<void> {
    if (field.kind === 'integer') list.push(signed(field.value));
    if (field.kind === 'bytes') {
      if (field.end - field.start > 10 * maxParts) throw this.#corrupt('it has a list of too many numbers');
      // A packed list is numbers without tags. Read as a message each pair would be a tag and a value.
      await this.#window.fill(field.end - field.start);
      list.push(...varints(this.#window.peek(field.end - field.start)));
    }
    if (list.length > maxParts) throw this.#corrupt('it has a list of too many numbers');
  }

  async #input(end: number): Promise<OnnxInput> {
    let name = '';
    let shape: OnnxInput['shape'] = [];
    for await (const field of this.#fields(end, 'an input or output')) {
      if (field.kind !== 'bytes') continue;
      if (field.number === inputField.name) name = await this.#text(field);
      if (field.number === inputField.type) shape = await this.#shape(field.end);
    }
    return {name, shape};
  }

  async #shape(end: number): Promise<OnnxInput['shape']> {
    const shape: (number | null)[] = [];
    for await (const type of this.#fields(end, 'the type of an input or output')) {
      if (type.kind !== 'bytes' || type.number !== shapeField.tensor) continue;
      for await (const part of this.#fields(type.end, 'the type of an input or output')) {
        if (part.kind !== 'bytes' || part.number !== shapeField.shape) continue;
        for await (const dim of this.#fields(part.end, 'the shape of an input or output')) {
          if (dim.kind !== 'bytes' || dim.number !== shapeField.dim) continue;
          if (shape.length === maxParts)
            throw this.#corrupt('it has an input or output of too many dimensions');
          let size: number | null = null;
          for await (const value of this.#fields(dim.end, 'a dimension')) {
            if (value.kind === 'integer' && value.number === shapeField.size) size = signed(value.value);
          }
          shape.push(size);
        }
      }
    }
    return shape;
  }

  async #text({start, end}: {start: number; end: number}): Promise<string> {
    const length = end - start;
    if (length > maxTextBytes) throw this.#corrupt(`it has a name of ${length} bytes`);
    await this.#window.fill(length);
    return this.#window.peek(length).toString('utf8');
  }

  #fields(end: number, what: string): AsyncGenerator<ProtobufField> {
    return this.#reader.fields(end, what);
  }

  #corrupt(problem: string): Error {
    return this.#file.fail('ERR_CHECKPOINT_CORRUPT', problem);
  }

  #unsupported(problem: string): Error {
    return this.#file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
}

function signed(value: bigint): number {
  return Number(BigInt.asIntN(64, value));
}

function floatOf(bytes: Buffer): number {
  return bytes.length === 4 ? bytes.readFloatLE() : NaN;
}

function varints(bytes: Buffer): number[] {
  const values: number[] = [];
  let [value, shift] = [0n, 0n];
  for (const byte of bytes) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    values.push(signed(value));
    [value, shift] = [0n, 0n];
  }
  return values;
}
