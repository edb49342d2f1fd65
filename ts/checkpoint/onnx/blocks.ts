/** Finds the blocks of a RepVGG network by following an ONNX graph from its input to its output. */
import {type CheckpointFile, printable} from '../file.ts';
import {OnnxGraph} from './graph.ts';
import {
  type Convolution,
  isConvolution,
  type Linear,
  type Normalisation,
  readBatchNorm,
  readConvolution,
  readLinear,
} from './layers.ts';
import type {OnnxModel} from './model.ts';

const pools = ['GlobalAveragePool', 'AveragePool', 'ReduceMean'];
const reshapes = ['Flatten', 'Reshape', 'Squeeze'];
/** Nodes that may follow the classifier: they compute probabilities or select the largest logits. */
const readouts = ['Softmax', 'LogSoftmax', 'Sigmoid', 'ArgMax', 'TopK', ...reshapes];

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
  output: string;
}

export interface OnnxNetwork {
  /** Side of the input images in pixels; null if it is free or not stated. */
  inputSize: number | null;
  blocks: Block[];
  head: Linear | null;
}

/** @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED if the graph is not a chain of RepVGG blocks */
export function onnxNetwork(model: OnnxModel, file: CheckpointFile): OnnxNetwork {
  const graph = new OnnxGraph(model, file);
  const [input] = graph.inputs;
  if (!input || graph.inputs.length > 1)
    throw graph.unsupported(`it has ${graph.inputs.length} inputs, where a network has one`);
  const [, depth, height, width] = input.shape;
  const inputSize = depth === 3 && height === width && height ? height : null;
  const blocks: Block[] = [];
  let [features, channels] = [input.name, 3];
  while (graph.uses(features).some(node => isConvolution(graph, node, 3))) {
    const block = readBlock(graph, features, channels);
    blocks.push(block);
    [features, channels] = [block.output, block.dense.channels];
  }
  if (blocks.length === 0) {
    const advice = 'so export it without what prepares images';
    throw graph.unsupported(
      `its input goes into ${graph.goesInto(features)}, not into a 3x3 convolution, ${advice}`,
    );
  }
  return {inputSize, blocks, head: readHead(graph, features)};
}

function readBlock(graph: OnnxGraph, input: string, channels: number): Block {
  const uses = graph.uses(input);
  const shown = `the block behind ${printable(input)}`;
  const only = <Item>(list: readonly Item[], what: string): Item | null => {
    if (list.length > 1) throw graph.unsupported(`${shown} has ${list.length} ${what}`);
    return list[0] ?? null;
  };
  const convolutions = (size: number): Convolution[] =>
    uses.filter(node => isConvolution(graph, node, size)).map(node => readConvolution(graph, node));
  const dense = only(convolutions(3), '3x3 kernels')!;
  const pointwise = only(convolutions(1), '1x1 kernels');
  const norms = uses.filter(({type}) => type === 'BatchNormalization');
  const identity = only(norms, 'identity branches');
  for (const {weight, groups, stride} of pointwise ? [dense, pointwise] : [dense]) {
    if (weight.shape[1]! * groups === channels && stride === dense.stride) continue;
    const problem = `${shown} has a kernel of [${weight.shape.join(', ')}] for ${channels} channels`;
    throw graph.unsupported(`${problem}, with groups ${groups} and stride ${stride}`);
  }
  const branches = [dense.output, pointwise?.output, identity?.outputs[0]];
  const sum = readSum(
    graph,
    branches.filter(name => name !== undefined),
    shown,
  );
  const gateBefore = readGate(graph, sum, 'before-relu');
  const before = gateBefore?.output ?? sum;
  const [relu, ...others] = graph.uses(before);
  if (relu?.type !== 'Relu' || others.length > 0) throw graph.unexpected(before, shown);
  const [output] = relu.outputs as [string];
  const gate = gateBefore ?? readGate(graph, output, 'after-relu');
  return {
    dense,
    pointwise,
    identity: identity && readBatchNorm(graph, identity),
    gate,
    output: gate?.position === 'after-relu' ? gate.output : output,
  };
}

/** Follows additions until all branches are summed. */
function readSum(graph: OnnxGraph, branches: readonly string[], shown: string): string {
  const open = new Set(branches);
  while (open.size > 1) {
    const adds = [...open]
      .flatMap(name => graph.uses(name))
      .filter(({type}) => type === 'Add' || type === 'Sum');
    const next = adds.find(({inputs}) => inputs.every(name => open.has(graph.original(name))));
    if (!next) throw graph.unsupported(`the branches of ${shown} are not added up`);
    for (const name of next.inputs) open.delete(graph.original(name));
    open.add(next.outputs[0]!);
  }
  return [...open][0]!;
}

/** Matches x * sigmoid(up(ReLU(down(mean of x)))), starting from the product. The official code reshapes the sigmoid. */
function readGate(graph: OnnxGraph, features: string, position: Gate['position']): Gate | null {
  for (const node of graph.uses(features)) {
    if (node.type !== 'Mul') continue;
    const factor = node.inputs.find(name => graph.original(name) !== features);
    const reshape = graph.producer(factor, ['Reshape']);
    const sigmoid = graph.producer(reshape ? reshape.inputs[0] : factor, ['Sigmoid']);
    const up = graph.producer(sigmoid?.inputs[0], ['Conv']);
    const relu = graph.producer(up?.inputs[0], ['Relu']);
    const down = graph.producer(relu?.inputs[0], ['Conv']);
    const pool = graph.producer(down?.inputs[0], pools);
    if (!up || !down || !pool || graph.original(pool.inputs[0]!) !== features) continue;
    return {
      down: readConvolution(graph, down),
      up: readConvolution(graph, up),
      position,
      output: node.outputs[0]!,
    };
  }
  return null;
}

/** Matches global pooling, reshaping and the classifier, which only readouts may follow. */
function readHead(graph: OnnxGraph, features: string): Linear | null {
  const shown = `the end behind ${printable(features)}`;
  const [pool, ...others] = graph.uses(features);
  if (!pool) return null;
  if (others.length > 0 || !pools.includes(pool.type)) throw graph.unexpected(features, shown);
  let name = pool.outputs[0]!;
  for (;;) {
    const [next, ...others] = graph.uses(name);
    if (!next) return null;
    if (others.length > 0) throw graph.unexpected(name, shown);
    const linear = readLinear(graph, next);
    if (linear) {
      checkEnd(graph, linear.output);
      return linear;
    }
    if (!reshapes.includes(next.type)) throw graph.unexpected(name, shown);
    name = next.outputs[0]!;
  }
}

function checkEnd(graph: OnnxGraph, logits: string): void {
  const names = new Set([logits]);
  for (const name of names) {
    const uses = graph.uses(name);
    if (uses.some(({type}) => !readouts.includes(type)))
      throw graph.unexpected(name, 'the end behind its classifier');
    for (const output of uses.flatMap(({outputs}) => outputs)) names.add(output);
  }
}
