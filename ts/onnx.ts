import type {FileHandle} from 'node:fs/promises';
import {blockName} from './architecture.ts';
import type {DeployBlock, NetworkParameters, SqueezeExciteParameters} from './network.ts';
import {append, replaceFile} from './replace_file.ts';

// ONNX is a protocol buffer; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the numbers of its fields.

const irVersion = 8;
const opset = 17;
const floatType = 1;
/** Of attributes. */
const [intType, intsType] = [2, 7];

/** A message in parts, so that weights are not copied. */
type Parts = Uint8Array[];
type Attributes = Record<string, number | number[]>;

/**
 * Writes a network's deploy form as an ONNX model of opset 17: Conv, Relu, GlobalAveragePool, Flatten and Gemm, with
 * Sigmoid and Mul where it has squeeze-and-excite. The input "input" is float32 [N][3][size][size], normalised; the output
 * is "logits", [N][numClasses], or without a classifier "features", [N][channels]. The whole network is in memory
 * meanwhile. The file replaces another as `replaceFile` does.
 *
 * @throws {RepVGGError} ERR_FILE_WRITE, or whatever the network's parameters throw; the reason of `signal` once it is aborted
 */
export async function writeOnnx(
  path: string,
  network: NetworkParameters,
  size: number,
  signal?: AbortSignal,
): Promise<void> {
  const write = async (file: FileHandle): Promise<void> => {
    for (const part of await model(network, size, signal)) await append(file, part);
  };
  await replaceFile(path, write, signal);
}

async function model(
  network: NetworkParameters,
  size: number,
  signal: AbortSignal | undefined,
): Promise<Parts> {
  const {numClasses, widths, squeezeExcite} = network.architecture;
  const graph = new Graph();
  let features = 'input';
  for await (const block of network.blocks('deploy', signal)) {
    const {shape, weight, bias, squeezeExcite: gate} = block as DeployBlock;
    const {inChannels, outChannels, groups, stride} = shape;
    const name = blockName(shape);
    features = graph.convolution(name, features, weight, bias, [outChannels, inChannels / groups, 3, 3], {
      group: groups,
      pads: [1, 1, 1, 1],
      strides: [stride, stride],
    });
    if (gate && squeezeExcite!.position === 'before-relu') features = addGate(graph, name, features, gate);
    features = graph.node('Relu', [features], `${name}.relu`);
    if (gate && squeezeExcite!.position === 'after-relu') features = addGate(graph, name, features, gate);
  }
  const pooled = graph.node('GlobalAveragePool', [features], 'pool');
  const linear = await network.linear();
  const flat = graph.node('Flatten', [pooled], linear ? 'flat' : 'features');
  if (linear) {
    const weight = graph.tensor('linear.weight', linear.weight, [numClasses, widths[4]]);
    const bias = graph.tensor('linear.bias', linear.bias, [numClasses]);
    graph.node('Gemm', [flat, weight, bias], 'logits', {transB: 1});
  }
  const output = linear ? valueInfo('logits', [numClasses]) : valueInfo('features', [widths[4]]);
  return graph.toModel(valueInfo('input', [3, size, size]), output);
}

/** x * sigmoid(up(ReLU(down(mean of x)))) */
function addGate(graph: Graph, block: string, input: string, gate: SqueezeExciteParameters): string {
  const {downWeight, downBias, upWeight, upBias} = gate;
  const [hidden, channels] = [downBias.length, upBias.length];
  const mean = graph.node('GlobalAveragePool', [input], `${block}.se.mean`);
  const down = graph.convolution(`${block}.se.down`, mean, downWeight, downBias, [hidden, channels, 1, 1]);
  const relu = graph.node('Relu', [down], `${block}.se.relu`);
  const up = graph.convolution(`${block}.se.up`, relu, upWeight, upBias, [channels, hidden, 1, 1]);
  const weight = graph.node('Sigmoid', [up], `${block}.se.sigmoid`);
  return graph.node('Mul', [input, weight], `${block}.se`);
}

/** A GraphProto that grows. Every node has one output, which has the node's name. */
class Graph {
  readonly #nodes: Parts = [];
  readonly #initializers: Parts = [];

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

  tensor(name: string, values: Float32Array, shape: readonly number[]): string {
    const {buffer, byteOffset, byteLength} = values;
    const data = new Uint8Array(buffer, byteOffset, byteLength);
    const fields = [...shape.flatMap(size => integer(1, size)), ...integer(2, floatType), ...text(8, name)];
    this.#initializers.push(...message(5, [...fields, ...message(9, [data])]));
    return name;
  }

  convolution(
    name: string,
    input: string,
    weight: Float32Array,
    bias: Float32Array,
    shape: readonly [number, number, number, number],
    attributes: Attributes = {},
  ): string {
    const inputs = [
      input,
      this.tensor(`${name}.weight`, weight, shape),
      this.tensor(`${name}.bias`, bias, [shape[0]]),
    ];
    return this.node('Conv', inputs, name, {kernel_shape: shape.slice(2), ...attributes});
  }

  toModel(input: Parts, output: Parts): Parts {
    const graph = [
      ...this.#nodes,
      ...text(2, 'RepVGG'),
      ...this.#initializers,
      ...message(11, input),
      ...message(12, output),
    ];
    return [
      ...integer(1, irVersion),
      ...text(2, 'repvgg'),
      ...message(7, graph),
      ...message(8, [...text(1, ''), ...integer(2, opset)]),
    ];
  }
}

function attribute(name: string, value: number | number[]): Parts {
  return typeof value === 'number'
    ? [...text(1, name), ...integer(3, value), ...integer(20, intType)]
    : [...text(1, name), ...value.flatMap(item => integer(8, item)), ...integer(20, intsType)];
}

/** A float32 tensor [N][...shape]. */
function valueInfo(name: string, shape: readonly number[]): Parts {
  const dimensions = [text(2, 'N'), ...shape.map(size => integer(1, size))].flatMap(parts =>
    message(1, parts),
  );
  const tensorType = [...integer(1, floatType), ...message(2, dimensions)];
  return [...text(1, name), ...message(2, message(1, tensorType))];
}

/** Fields of the wire format: a varint, or bytes behind their length. */
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
