import {RepVGGError} from '../../errors.ts';
import {toHalf} from '../../support/half.ts';

// Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.

const irVersion = 8;
const opset = 17;
/** Tensor element types. */
const elementTypes = {float32: 1, uint8: 2, float16: 10} as const;
/** Attribute types. */
const [intType, intsType] = [2, 7];

export type ElementType = keyof typeof elementTypes;
type Attributes = Record<string, number | readonly number[]>;
/** A serialised message in parts, which avoids copying weights. */
type Parts = Uint8Array[];

/** An input or output of a model, of shape [N][...shape] for any N. */
export interface OnnxValue {
  name: string;
  type: 'float32' | 'uint8';
  shape: readonly number[];
}

/** Builds a graph. Every node has one output, with the node's name. */
export class OnnxGraphBuilder {
  /** The type of weights. */
  readonly #type: 'float32' | 'float16';
  readonly #nodes: Parts = [];
  readonly #initializers: Parts = [];

  constructor(type: 'float32' | 'float16') {
    this.#type = type;
  }

  node(type: string, inputs: readonly string[], name: string, attributes: Attributes = {}): string {
    const fields = [
      ...inputs.map(input => text(1, input)),
      text(2, name),
      text(3, name),
      text(4, type),
      ...Object.entries(attributes).map(([key, value]) => message(5, attribute(key, value))),
    ];
    this.#nodes.push(...message(1, fields.flat()));
    return name;
  }

  cast(input: string, type: ElementType, name: string): string {
    return this.node('Cast', [input], name, {to: elementTypes[type]});
  }

  /** Adds weights, converted to the graph's type. */
  async weights(name: string, values: Float32Array, shape: readonly number[]): Promise<string> {
    if (this.#type === 'float32') return this.constant(name, values, shape);
    const halves = await toHalf(values);
    const large = halves.findIndex(bits => (bits & 0x7fff) === 0x7c00);
    if (large < 0) return this.#tensor(name, 'float16', halves, shape);
    const message = `Expected numbers up to 65504 for fp16 in tensor "${name}" but received ${values[large]}: export it in fp32.`;
    throw new RepVGGError('ERR_CHECKPOINT_VALUE', message);
  }

  constant(name: string, values: Float32Array, shape: readonly number[]): string {
    return this.#tensor(name, 'float32', values, shape);
  }

  #tensor(
    name: string,
    type: ElementType,
    values: Float32Array | Uint16Array,
    shape: readonly number[],
  ): string {
    const {buffer, byteOffset, byteLength} = values;
    const data = new Uint8Array(buffer, byteOffset, byteLength);
    const fields = [
      ...shape.flatMap(size => integer(1, size)),
      ...integer(2, elementTypes[type]),
      ...text(8, name),
    ];
    this.#initializers.push(...message(5, [...fields, ...message(9, [data])]));
    return name;
  }

  async convolution(
    name: string,
    input: string,
    weight: Float32Array,
    bias: Float32Array,
    shape: readonly [number, number, number, number],
    attributes: Attributes = {},
  ): Promise<string> {
    const inputs = [
      input,
      await this.weights(`${name}.weight`, weight, shape),
      await this.weights(`${name}.bias`, bias, [shape[0]]),
    ];
    return this.node('Conv', inputs, name, {kernel_shape: shape.slice(2), ...attributes});
  }

  /** The serialised model, in parts. */
  toModel(input: OnnxValue, output: OnnxValue, metadata: Readonly<Record<string, string>>): Uint8Array[] {
    const graph = [
      ...this.#nodes,
      ...text(2, 'RepVGG'),
      ...this.#initializers,
      ...message(11, valueInfo(input)),
      ...message(12, valueInfo(output)),
    ];
    return [
      ...integer(1, irVersion),
      ...text(2, 'repvgg'),
      ...message(7, graph),
      ...message(8, [...text(1, ''), ...integer(2, opset)]),
      ...Object.entries(metadata).flatMap(([key, value]) =>
        message(14, [...text(1, key), ...text(2, value)]),
      ),
    ];
  }
}

function attribute(name: string, value: number | readonly number[]): Parts {
  return typeof value === 'number'
    ? [...text(1, name), ...integer(3, value), ...integer(20, intType)]
    : [...text(1, name), ...value.flatMap(item => integer(8, item)), ...integer(20, intsType)];
}

function valueInfo({name, type, shape}: OnnxValue): Parts {
  const dimensions = [text(2, 'N'), ...shape.map(size => integer(1, size))].flatMap(parts =>
    message(1, parts),
  );
  const tensorType = [...integer(1, elementTypes[type]), ...message(2, dimensions)];
  return [...text(1, name), ...message(2, message(1, tensorType))];
}

/** A varint field of the wire format; {@link message} makes length-delimited ones. */
function integer(field: number, value: number): Parts {
  return [varint(field << 3), varint(value)];
}

function message(field: number, parts: Parts): Parts {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return [varint((field << 3) | 2), varint(length), ...parts];
}

function text(field: number, value: string): Parts {
  return message(field, [Buffer.from(value)]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Uint8Array.from([...bytes, rest]);
}
