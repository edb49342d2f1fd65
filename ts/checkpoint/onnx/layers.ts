/** The layers of a network in an ONNX graph: single nodes or pairs of nodes, with their weights. */
import {printable} from '../file.ts';
import {transpose} from '../plain_tensors.ts';
import type {OnnxGraph, OnnxWeight} from './graph.ts';
import type {OnnxNode} from './model.ts';

/** PyTorch's epsilon, which is also the default of the attribute. */
export const onnxEps = 1e-5;

export interface Normalisation {
  gamma: OnnxWeight;
  beta: OnnxWeight;
  mean: OnnxWeight;
  variance: OnnxWeight;
  eps: number;
}

/** A convolution, and the batch normalisation after it if there is one. */
export interface Convolution {
  size: number;
  stride: number;
  groups: number;
  /** Output channels. */
  channels: number;
  weight: OnnxWeight;
  bias: OnnxWeight | null;
  batchNorm: Normalisation | null;
  output: string;
}

export interface Linear {
  /** [classes, channels] */
  weight: OnnxWeight;
  bias: OnnxWeight | null;
  output: string;
}

export function isConvolution(graph: OnnxGraph, {type, inputs}: OnnxNode, size: number): boolean {
  if (type !== 'Conv') return false;
  const shape = graph.shapeOfWeight(inputs[1]);
  return shape.length === 4 && shape[2] === size && shape[3] === size;
}

/** @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED for a padding, stride or dilation that RepVGG does not use */
export function readConvolution(graph: OnnxGraph, {inputs, outputs, attributes}: OnnxNode): Convolution {
  const weight = graph.weight(inputs[1], 4);
  const [channels, , size, width] = weight.shape as [number, number, number, number];
  const list = (name: string, length: number, value: number): readonly number[] => {
    const given = attributes.get(name);
    return Array.isArray(given) && given.length > 0 ? given : Array(length).fill(value);
  };
  const all = (values: readonly number[], wanted: number): boolean => values.every(value => value === wanted);
  const [pads, strides, dilations] = [list('pads', 4, 0), list('strides', 2, 1), list('dilations', 2, 1)];
  const isOrdinary =
    size === width &&
    all(pads, Math.trunc(size / 2)) &&
    (all(strides, 1) || all(strides, 2)) &&
    all(dilations, 1);
  const [output] = outputs as [string];
  if (!isOrdinary) {
    throw graph.unsupported(
      `its convolution into ${printable(output)} has padding [${pads.join(', ')}] and strides [${strides.join(', ')}], ` +
        'which no RepVGG has',
    );
  }
  const following = graph.uses(output);
  const norm = following.length === 1 && following[0]!.type === 'BatchNormalization' ? following[0]! : null;
  return {
    size,
    channels,
    weight,
    stride: strides[0]!,
    groups: numeric(attributes.get('group'), 1),
    bias: inputs[2] ? graph.weight(inputs[2], 1) : null,
    batchNorm: norm && readBatchNorm(graph, norm),
    output: norm ? norm.outputs[0]! : output,
  };
}

export function readBatchNorm(graph: OnnxGraph, {inputs, attributes}: OnnxNode): Normalisation {
  const [gamma, beta, mean, variance] = inputs.slice(1).map(name => graph.weight(name, 1));
  if (!gamma || !beta || !mean || !variance)
    throw graph.unsupported('it has an incomplete batch normalisation');
  // The attribute is a float32, the nearest to 1e-5.
  const given = numeric(attributes.get('epsilon'), onnxEps);
  return {gamma, beta, mean, variance, eps: given === Math.fround(onnxEps) ? onnxEps : given};
}

/** A Gemm, or a MatMul and the Add of its bias; null for any other node. */
export function readLinear(graph: OnnxGraph, node: OnnxNode): Linear | null {
  if (node.type === 'Gemm') return readGemm(graph, node);
  return node.type === 'MatMul' ? readMatMul(graph, node) : null;
}

function readGemm(graph: OnnxGraph, {inputs, outputs, attributes}: OnnxNode): Linear {
  const number = (name: string, value: number): number => numeric(attributes.get(name), value);
  if (number('alpha', 1) !== 1 || number('beta', 1) !== 1 || number('transA', 0) !== 0)
    throw graph.unsupported('its classifier is scaled or transposed');
  const weight = graph.weight(inputs[1], 2);
  return {
    weight: number('transB', 0) === 1 ? weight : transpose(weight),
    bias: inputs[2] ? graph.weight(inputs[2], 1) : null,
    output: outputs[0]!,
  };
}

function readMatMul(graph: OnnxGraph, {inputs, outputs}: OnnxNode): Linear {
  const weight = transpose(graph.weight(inputs[1], 2));
  const [product] = outputs as [string];
  const [next] = graph.uses(product);
  if (next?.type !== 'Add') return {weight, bias: null, output: product};
  const bias = next.inputs.find(name => graph.original(name) !== product);
  return {weight, bias: graph.weight(bias, 1), output: next.outputs[0]!};
}

function numeric(attribute: unknown, fallback: number): number {
  return typeof attribute === 'number' ? attribute : fallback;
}
