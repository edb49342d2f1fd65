/**
 * RepVGG in float64, written to be read rather than to be fast: the reference that fused weights and native kernels are
 * held against. One image at a time, channels first.
 */
import type {BlockShape, SqueezeExcitePosition} from '../ts/architecture.ts';
import type {BatchNorm, Floats, SqueezeExciteParameters, TrainBlock} from '../ts/network.ts';

export interface Size {
  height: number;
  width: number;
}

/** The activations of one image: [channels][height][width]. */
export interface FeatureMap extends Size {
  channels: number;
  data: Float64Array;
}

/** A fused block, of rounded or unrounded weights. */
export interface FusedBlock {
  form: 'deploy';
  shape: BlockShape;
  weight: Floats;
  bias: Floats;
  squeezeExcite: SqueezeExciteParameters | null;
}

export type Block64 = FusedBlock | TrainBlock;

export interface Convolution64 {
  kernelSize: 1 | 3;
  stride: 1 | 2;
  groups: number;
  /** [outChannels][channels / groups][kernelSize][kernelSize] */
  weight: Floats;
  /** [outChannels] */
  bias: Floats | null;
}

/**
 * Runs a whole network.
 *
 * @param linear [numClasses][channels] and [numClasses]; null for a backbone
 * @param input normalised pixels, [3][height][width]
 * @param options.position where squeeze-and-excite sits, in a network that has it
 * @returns the pooled features, and the logits (null without a linear layer)
 */
export async function forward64(
  blocks: AsyncIterable<Block64> | Iterable<Block64>,
  linear: {weight: Floats; bias: Floats} | null,
  input: Floats,
  options: Size & {position?: SqueezeExcitePosition | undefined},
): Promise<{embedding: Float64Array; logits: Float64Array | null}> {
  const {height, width, position} = options;
  let map: FeatureMap = {channels: 3, height, width, data: Float64Array.from(input)};
  for await (const block of blocks) map = block64(map, block, position);
  const embedding = globalAveragePool(map);
  return {embedding, logits: linear && linear64(embedding, linear.weight, linear.bias)};
}

/** Runs one block in the form that it has. */
export function block64(input: FeatureMap, block: Block64, position?: SqueezeExcitePosition): FeatureMap {
  const sum = block.form === 'deploy' ? fusedSum(input, block) : branchSum(input, block);
  if (!block.squeezeExcite) return relu(sum);
  if (!position) throw new Error('a block has squeeze-and-excite, but its position was not given');
  return position === 'before-relu'
    ? relu(squeezeExcite(sum, block.squeezeExcite))
    : squeezeExcite(relu(sum), block.squeezeExcite);
}

function fusedSum(input: FeatureMap, {shape, weight, bias}: FusedBlock): FeatureMap {
  const {stride, groups} = shape;
  return convolution(input, {kernelSize: 3, stride, groups, weight, bias});
}

function branchSum(input: FeatureMap, {shape, dense, pointwise, identity}: TrainBlock): FeatureMap {
  const {stride, groups} = shape;
  const branches = [
    batchNorm(convolution(input, {kernelSize: 3, stride, groups, ...dense}), dense.batchNorm),
    batchNorm(convolution(input, {kernelSize: 1, stride, groups, ...pointwise}), pointwise.batchNorm),
  ];
  if (identity) branches.push(batchNorm(input, identity));
  return branches.reduce(add);
}

/** A convolution whose padding keeps the size at stride 1: padding 1 for 3x3 kernels, none for 1x1. */
export function convolution(
  input: FeatureMap,
  {kernelSize, stride, groups, weight, bias}: Convolution64,
): FeatureMap {
  const padding = (kernelSize - 1) / 2;
  const groupChannels = input.channels / groups;
  const channels = weight.length / (groupChannels * kernelSize ** 2);
  const height = Math.floor((input.height - 1) / stride) + 1;
  const width = Math.floor((input.width - 1) / stride) + 1;
  const data = new Float64Array(channels * height * width);
  for (let o = 0; o < channels; o++) {
    const group = Math.floor((o * groups) / channels);
    if (bias) data.fill(bias[o]!, o * height * width, (o + 1) * height * width);
    for (let i = 0; i < groupChannels; i++) {
      const channel = (group * groupChannels + i) * input.height * input.width;
      for (let ky = 0; ky < kernelSize; ky++) {
        for (let kx = 0; kx < kernelSize; kx++) {
          const tap = weight[((o * groupChannels + i) * kernelSize + ky) * kernelSize + kx]!;
          for (let y = 0; y < height; y++) {
            const inY = y * stride + ky - padding;
            if (inY < 0 || inY >= input.height) continue;
            const row = channel + inY * input.width;
            const outRow = (o * height + y) * width;
            for (let x = 0; x < width; x++) {
              const inX = x * stride + kx - padding;
              if (inX >= 0 && inX < input.width) data[outRow + x]! += tap * input.data[row + inX]!;
            }
          }
        }
      }
    }
  }
  return {channels, height, width, data};
}

export function batchNorm(input: FeatureMap, {gamma, beta, mean, variance, eps}: BatchNorm): FeatureMap {
  return mapChannels(
    input,
    (x, c) => (gamma[c]! * (x - mean[c]!)) / Math.sqrt(variance[c]! + eps) + beta[c]!,
  );
}

export function relu(input: FeatureMap): FeatureMap {
  return mapChannels(input, x => Math.max(0, x));
}

export function add(a: FeatureMap, b: FeatureMap): FeatureMap {
  return {...a, data: a.data.map((x, i) => x + b.data[i]!)};
}

/** Scales each channel by sigmoid(up(relu(down(mean of the channel)))). */
export function squeezeExcite(input: FeatureMap, parameters: SqueezeExciteParameters): FeatureMap {
  const {downWeight, downBias, upWeight, upBias} = parameters;
  const hidden = linear64(globalAveragePool(input), downWeight, downBias).map(x => Math.max(0, x));
  const gate = linear64(hidden, upWeight, upBias).map(x => 1 / (1 + Math.exp(-x)));
  return mapChannels(input, (x, c) => x * gate[c]!);
}

export function globalAveragePool({channels, height, width, data}: FeatureMap): Float64Array {
  const area = height * width;
  const mean = (c: number): number =>
    data.subarray(c * area, (c + 1) * area).reduce((a, b) => a + b, 0) / area;
  return Float64Array.from({length: channels}, (_, c) => mean(c));
}

/** @param weight [outputs][inputs] */
export function linear64(input: Float64Array, weight: Floats, bias: Floats): Float64Array {
  const output = Float64Array.from(bias);
  for (let o = 0; o < output.length; o++) {
    for (let i = 0; i < input.length; i++) output[o]! += weight[o * input.length + i]! * input[i]!;
  }
  return output;
}

/** ||actual - expected|| / ||expected||, in the Euclidean norm. */
export function relativeL2(actual: Floats, expected: Floats): number {
  let error = 0;
  let norm = 0;
  for (const [i, value] of expected.entries()) {
    error += (actual[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(error / norm);
}

function mapChannels(input: FeatureMap, f: (x: number, channel: number) => number): FeatureMap {
  const area = input.height * input.width;
  return {...input, data: input.data.map((x, i) => f(x, Math.floor(i / area)))};
}
