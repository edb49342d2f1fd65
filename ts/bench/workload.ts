import sharp from 'sharp';
import {type Architecture, type BlockShape, blockShapes} from '../architecture.ts';
import {invalidArgument} from '../errors.ts';
import type {
  BlockParameters,
  ConvolutionBranch,
  Form,
  NetworkParameters,
  SqueezeExciteParameters,
} from '../network.ts';

/** Reproducible numbers from -1 to 1 by 32-bit xorshift (Marsaglia 2003), which is fast: a network has up to 1e8 weights. */
class Noise {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x / 2 ** 31;
  }

  /** Uniform numbers with this standard deviation around `centre`. */
  array(length: number, deviation: number, centre = 0): Float32Array {
    const scale = deviation * Math.sqrt(3);
    const values = new Float32Array(length);
    for (let i = 0; i < length; i++) values[i] = centre + scale * this.next();
    return values;
  }
}

/**
 * A network with reproducible random weights, so that no file is needed; speed does not depend on their values. They are scaled by He et
 * al.'s rule (arXiv 1502.01852), so that activations neither vanish nor grow: there are no denormal numbers, and outputs can be compared.
 */
export function randomNetwork(architecture: Architecture, storedForm: Form): NetworkParameters {
  const shapes = blockShapes(architecture);
  return {
    architecture,
    storedForm,
    async *blocks(form) {
      if (form !== storedForm) throw invalidArgument('form', `"${storedForm}"`, form);
      for (const shape of shapes) yield randomBlock(shape, form);
    },
    async linear() {
      const {numClasses, widths} = architecture;
      if (numClasses === 0) return null;
      const noise = new Noise(7);
      return {
        weight: noise.array(numClasses * widths[4], 1 / Math.sqrt(widths[4])),
        bias: noise.array(numClasses, 0.1),
      };
    },
  };
}

function randomBlock(shape: BlockShape, form: Form): BlockParameters {
  const {index, inChannels, outChannels, groups, squeezeChannels} = shape;
  const noise = new Noise(1000 + index);
  const fanIn = (taps: number): number => (taps * inChannels) / groups;
  const kernel = (taps: number): Float32Array =>
    noise.array(outChannels * fanIn(taps), Math.sqrt(2 / fanIn(taps)));
  const squeezeExcite = squeezeChannels > 0 ? randomGate(noise, outChannels, squeezeChannels) : null;
  if (form === 'deploy') {
    return {form, shape, weight: kernel(9), bias: noise.array(outChannels, 0.1), squeezeExcite};
  }
  // Each branch contributes an equal share of the variance.
  const branches = shape.identity ? 3 : 2;
  const batchNorm = () => ({
    gamma: noise.array(outChannels, 0.1, 1 / Math.sqrt(branches)),
    beta: noise.array(outChannels, 0.1),
    mean: noise.array(outChannels, 0.1),
    variance: noise.array(outChannels, 0.1, 1),
    eps: 1e-5,
  });
  const branch = (taps: number): ConvolutionBranch => ({
    weight: kernel(taps),
    bias: null,
    batchNorm: batchNorm(),
  });
  const identity = shape.identity ? batchNorm() : null;
  return {form, shape, dense: branch(9), pointwise: branch(1), identity, squeezeExcite};
}

function randomGate(noise: Noise, channels: number, hidden: number): SqueezeExciteParameters {
  return {
    downWeight: noise.array(hidden * channels, 1 / Math.sqrt(channels)),
    downBias: noise.array(hidden, 0.1),
    upWeight: noise.array(channels * hidden, 1 / Math.sqrt(hidden)),
    // With gates of about one half in every block, activations would vanish.
    upBias: noise.array(channels, 0.1, 2),
  };
}

/** `count` images of noise: [count][size][size][3]. */
export function randomPixels(count: number, size: number): Uint8Array {
  const noise = new Noise(3);
  return Uint8Array.from({length: count * size * size * 3}, () => 128 + 127 * noise.next());
}

/** The most frequent size in ImageNet. */
export const jpegSize = {width: 500, height: 375} as const;

/** JPEGs of {@link jpegSize} with gradients and soft noise, about 40 kB each, like photographs. */
export async function randomJpegs(count: number): Promise<Buffer[]> {
  const {width, height} = jpegSize;
  const jpegs: Buffer[] = [];
  for (let image = 0; image < count; image++) {
    const noise = new Noise(100 + image);
    const slopes = noise.array(6, 0.2);
    const data = new Uint8ClampedArray(width * height * 3);
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [i % width, Math.floor(i / width)];
      const grain = 10 * noise.next();
      for (let c = 0; c < 3; c++) data[3 * i + c] = 128 + slopes[c]! * x + slopes[3 + c]! * y + grain;
    }
    jpegs.push(
      await sharp(data, {raw: {width, height, channels: 3}})
        .jpeg({quality: 90})
        .toBuffer(),
    );
  }
  return jpegs;
}
