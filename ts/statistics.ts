import {type Architecture, type BlockShape, blockName, blockShapes} from './architecture.ts';

/** The size of a layer or network, and its cost for one image. */
export interface Counts {
  /** Weights and biases in deploy form. */
  deployParameters: number;
  /**
   * Parameters in train form: kernels, and gamma and beta of each batch normalisation. As usual in PyTorch, running mean,
   * running variance and batch counter are buffers and do not count; nor do the auxiliary classifiers of RepVGGplus, which
   * exist only in training.
   */
  trainParameters: number;
  /** Multiply-accumulates of the fused convolutions, squeeze-and-excite and the linear layer: the paper's "FLOPs". */
  macs: number;
  /**
   * Multiplications with Winograd's F(2x2, 3x3), the paper's "Wino MULs": 16 for each 2 x 2 output tile and pair of channels
   * in layers of stride 1, the same as `macs` elsewhere.
   */
  winogradMultiplies: number;
  /** Elements of the output. */
  activations: number;
}

/** The 3x3 convolution of a block, with its squeeze-and-excite. */
export interface LayerStatistics extends Counts {
  /** "stage0", "stage1.0" and so on. */
  name: string;
  shape: BlockShape;
  /** Size of the output. */
  height: number;
  width: number;
}

/** The result of {@link layerTable}. */
export interface NetworkStatistics {
  layers: LayerStatistics[];
  convolutions: Counts;
  /** Including the linear layer. */
  total: Counts;
  /** The largest sum of a layer's input and output elements: what a fused network holds in memory per image. */
  peakActivations: number;
}

/**
 * Counts parameters, operations and activations layer by layer, as tables 4 and 5 of the RepVGG paper
 * (arXiv 2101.03697) do. The paper's "FLOPs" include the linear layer, its "Wino MULs" do not.
 */
export function layerTable(
  architecture: Architecture,
  inputSize: {height: number; width: number},
): NetworkStatistics {
  let {height, width} = inputSize;
  const layers = blockShapes(architecture).map(shape => {
    height = Math.floor((height - 1) / shape.stride) + 1;
    width = Math.floor((width - 1) / shape.stride) + 1;
    return layerStatistics(shape, height, width);
  });
  const {numClasses, widths} = architecture;
  const products = numClasses * widths[4];
  const linear: Counts = {
    deployParameters: products + numClasses,
    trainParameters: products + numClasses,
    macs: products,
    winogradMultiplies: products,
    activations: numClasses,
  };
  const convolutions = layers.reduce(add, noCounts);
  const input = 3 * inputSize.height * inputSize.width;
  const held = layers.map(({activations}, i) => (layers[i - 1]?.activations ?? input) + activations);
  return {layers, convolutions, total: add(convolutions, linear), peakActivations: Math.max(...held)};
}

function layerStatistics(shape: BlockShape, height: number, width: number): LayerStatistics {
  const {inChannels, outChannels, groups, stride, identity, squeezeChannels} = shape;
  const pairs = (inChannels / groups) * outChannels;
  const squeezePairs = 2 * outChannels * squeezeChannels;
  const squeezeBiases = squeezeChannels > 0 ? squeezeChannels + outChannels : 0;
  const squeezeParameters = squeezePairs + squeezeBiases;
  const batchNorms = identity ? 3 : 2;
  const products = 9 * pairs * height * width;
  const winograd = 16 * pairs * Math.ceil(height / 2) * Math.ceil(width / 2);
  return {
    name: blockName(shape),
    shape,
    height,
    width,
    deployParameters: 9 * pairs + outChannels + squeezeParameters,
    trainParameters: 10 * pairs + 2 * outChannels * batchNorms + squeezeParameters,
    macs: products + squeezePairs,
    winogradMultiplies: (stride === 1 ? winograd : products) + squeezePairs,
    activations: outChannels * height * width,
  };
}

const noCounts: Counts = {
  deployParameters: 0,
  trainParameters: 0,
  macs: 0,
  winogradMultiplies: 0,
  activations: 0,
};

function add(a: Counts, b: Counts): Counts {
  return {
    deployParameters: a.deployParameters + b.deployParameters,
    trainParameters: a.trainParameters + b.trainParameters,
    macs: a.macs + b.macs,
    winogradMultiplies: a.winogradMultiplies + b.winogradMultiplies,
    activations: a.activations + b.activations,
  };
}
