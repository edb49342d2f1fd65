import type {FileHandle} from 'node:fs/promises';
import {blockName} from '../../architecture.ts';
import type {DeployBlock, NetworkParameters, SqueezeExciteParameters} from '../../network.ts';
import type {Preprocessing} from '../../preprocessing.ts';
import {append, replaceFile} from '../../support/replace_file.ts';
import {OnnxGraphBuilder, type OnnxValue} from './write_graph.ts';

export interface OnnxOptions {
  /** Precision of weights and arithmetic; the input and output of an fp16 model are float32 nevertheless. Default fp32. */
  precision?: 'fp32' | 'fp16' | undefined;
  /** Makes the model normalise: its input is then uint8 pixels instead of normalised floats. */
  normalisation?: Pick<Preprocessing, 'mean' | 'std'> | undefined;
  /** The model's metadata. */
  metadata?: Readonly<Record<string, string>> | undefined;
  signal?: AbortSignal | undefined;
}

/** A model's input and output. */
export interface OnnxSignature {
  input: OnnxValue;
  output: OnnxValue;
}

/**
 * Writes a network's deploy form as an ONNX model of opset 17: Conv, Relu, GlobalAveragePool, Flatten and Gemm, with
 * Sigmoid and Mul for squeeze-and-excite. The input "input" is float32 [N][3][size][size], normalised as in PyTorch, or with
 * `normalisation` uint8 [N][size][size][3], RGB. The output is "logits", [N][numClasses], or without a classifier
 * "features", [N][channels]. The whole network is held in memory.
 *
 * @throws {RepVGGError} ERR_FILE_WRITE; ERR_CHECKPOINT_VALUE for a weight beyond fp16; errors of reading the network
 */
export async function writeOnnx(
  path: string,
  network: NetworkParameters,
  size: number,
  {precision = 'fp32', normalisation, metadata = {}, signal}: OnnxOptions = {},
): Promise<OnnxSignature> {
  const {numClasses, widths, squeezeExcite} = network.architecture;
  const half = precision === 'fp16';
  const graph = new OnnxGraphBuilder(half ? 'float16' : 'float32');
  let features = normalisation ? addNormalisation(graph, normalisation) : 'input';
  if (half) features = graph.cast(features, 'float16', 'input.half');
  for await (const block of network.blocks('deploy', signal)) {
    const {shape, weight, bias, squeezeExcite: gate} = block as DeployBlock;
    const {inChannels, outChannels, groups, stride} = shape;
    const name = blockName(shape);
    const kernel = [outChannels, inChannels / groups, 3, 3] as const;
    features = await graph.convolution(name, features, weight, bias, kernel, {
      group: groups,
      pads: [1, 1, 1, 1],
      strides: [stride, stride],
    });
    if (gate && squeezeExcite!.position === 'before-relu')
      features = await addGate(graph, name, features, gate);
    features = graph.node('Relu', [features], `${name}.relu`);
    if (gate && squeezeExcite!.position === 'after-relu')
      features = await addGate(graph, name, features, gate);
  }
  const pooled = graph.node('GlobalAveragePool', [features], 'pool');
  const linear = await network.linear();
  const output = linear ? 'logits' : 'features';
  const last = half ? `${output}.half` : output;
  const flat = graph.node('Flatten', [pooled], linear ? 'flat' : last);
  if (linear) {
    const weight = await graph.weights('linear.weight', linear.weight, [numClasses, widths[4]]);
    const bias = await graph.weights('linear.bias', linear.bias, [numClasses]);
    graph.node('Gemm', [flat, weight, bias], last, {transB: 1});
  }
  if (half) graph.cast(last, 'float32', output);
  const signature: OnnxSignature = {
    input: normalisation
      ? {name: 'input', type: 'uint8', shape: [size, size, 3]}
      : {name: 'input', type: 'float32', shape: [3, size, size]},
    output: {name: output, type: 'float32', shape: [linear ? numClasses : widths[4]]},
  };
  const write = async (file: FileHandle): Promise<void> => {
    for (const part of graph.toModel(signature.input, signature.output, metadata)) {
      signal?.throwIfAborted();
      await append(file, part);
    }
  };
  await replaceFile(path, write, signal);
  return signature;
}

/** (pixel - 255 mean) / (255 std), torchvision's ToTensor and Normalize, always in fp32. */
function addNormalisation(graph: OnnxGraphBuilder, {mean, std}: Pick<Preprocessing, 'mean' | 'std'>): string {
  const perChannel = (name: string, values: readonly number[]): string =>
    graph.constant(
      name,
      Float32Array.from(values, value => 255 * value),
      [3, 1, 1],
    );
  const planes = graph.node('Transpose', ['input'], 'input.planes', {perm: [0, 3, 1, 2]});
  const floats = graph.cast(planes, 'float32', 'input.float');
  const centred = graph.node('Sub', [floats, perChannel('input.mean', mean)], 'input.centred');
  return graph.node('Div', [centred, perChannel('input.std', std)], 'input.normalised');
}

/** x * sigmoid(up(ReLU(down(mean of x)))) */
async function addGate(
  graph: OnnxGraphBuilder,
  block: string,
  input: string,
  gate: SqueezeExciteParameters,
): Promise<string> {
  const {downWeight, downBias, upWeight, upBias} = gate;
  const [hidden, channels] = [downBias.length, upBias.length];
  const mean = graph.node('GlobalAveragePool', [input], `${block}.se.mean`);
  const down = await graph.convolution(`${block}.se.down`, mean, downWeight, downBias, [
    hidden,
    channels,
    1,
    1,
  ]);
  const relu = graph.node('Relu', [down], `${block}.se.relu`);
  const up = await graph.convolution(`${block}.se.up`, relu, upWeight, upBias, [channels, hidden, 1, 1]);
  const weight = graph.node('Sigmoid', [up], `${block}.se.sigmoid`);
  return graph.node('Mul', [input, weight], `${block}.se`);
}
