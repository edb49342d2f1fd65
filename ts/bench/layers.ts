import type {LayerDescription, NetworkDescription} from '../native/addon.ts';
import {type LayerStatistics, layerTable} from '../statistics.ts';
import type {NetworkCase} from './network.ts';
import {type BenchLayer, type BenchLayers, type BenchLimits, usesMultiplyAdds} from './results.ts';

/** A description of how a network runs, kept until the limits of the whole run are known. */
export interface DescribedNetwork {
  network: NetworkCase;
  description: NetworkDescription;
}

/** The time of each layer and the lower bound for its algorithm on this machine. */
export function layersOf({network, description}: DescribedNetwork, limits: BenchLimits): BenchLayers {
  const {form, device, precision, batch, threads} = network;
  const {name, architecture, preprocessing} = network.model;
  const {crop} = preprocessing;
  const {layers} = layerTable(architecture, {height: crop, width: crop});
  const peak = usesMultiplyAdds(precision) ? limits.fmaGflops : peakOfUnits(limits);
  return {
    model: name,
    form,
    device: device.name,
    precision,
    batch,
    threads,
    layers: layers.map((layer, index) => {
      const described = description.layers[index]!;
      const bytes = {fp32: 4, tf32: 4, fp16: 2, bf16: 2, fp8: 1, 'fp8-simulated': 4}[precision];
      const isCpu = device.backend === 'cpu';
      return layerOf(isCpu, layer, described, description.batchSize, bytes, peak, limits.copyGBps);
    }),
  };
}

function peakOfUnits({matrixTflops}: BenchLimits): number | null {
  return matrixTflops === null ? null : 1000 * matrixTflops;
}

/**
 * Winograd multiplications along one dimension of `pixels` outputs, with tiles of `tile` outputs. On the CPU, F(4x4) uses a narrow tile
 * with four multiplications for one or two remaining pixels (cpu/winograd.h).
 */
function productsAlong(tile: number, pixels: number, narrow: boolean): number {
  const left = pixels % tile;
  if (narrow && tile === 4 && (left === 1 || left === 2)) return 6 * Math.floor(pixels / tile) + 4;
  return (tile + 2) * Math.ceil(pixels / tile);
}

function layerOf(
  isCpu: boolean,
  layer: LayerStatistics,
  described: LayerDescription,
  together: number,
  bytesPerValue: number,
  peakGflops: number | null,
  copyGBps: number,
): BenchLayer {
  const {name, shape, height, width, macs} = layer;
  const {inChannels, outChannels, stride, groups} = shape;
  const {algorithm, source, microseconds: timings, imageMicroseconds} = described;
  const timed = timings[algorithm];
  const microseconds = imageMicroseconds ?? (timed === undefined ? null : timed / together);
  // "f4x2" is F(4x2, 3x3), "f2" is F(2x2, 3x3), and "f2 32x64" is the latter with the tile of a GPU.
  const tile = /^f([24])(?:x([24]))?(?: |$)/.exec(algorithm);
  const [rows, columns] = tile === null ? [1, 1] : [Number(tile[1]), Number(tile[2] ?? tile[1])];
  const pairs = (inChannels / groups) * outChannels;
  const positions = (rows + 2) * (columns + 2);
  const along = (side: number, pixels: number): number => productsAlong(side, pixels, isCpu);
  const products = tile === null ? macs : pairs * along(rows, height) * along(columns, width);
  // Per image: its share of the weights and, on a GPU, its feature maps, which are in device memory. Input pixels are bytes.
  const mapIn = stride ** 2 * height * width * inChannels * (inChannels === 3 ? 1 : bytesPerValue);
  const maps = isCpu ? 0 : mapIn + height * width * outChannels * bytesPerValue;
  const bytes = (positions * pairs * bytesPerValue) / together + maps;
  const compute = peakGflops === null ? null : (2 * products) / (1000 * peakGflops);
  const leastMicroseconds = compute === null ? null : Math.max(compute, bytes / (1000 * copyGBps));
  return {
    name,
    inChannels,
    outChannels,
    stride,
    groups,
    height,
    width,
    algorithm,
    source,
    microseconds,
    effectiveGflops: microseconds === null ? null : (2 * macs) / (1000 * microseconds),
    products,
    leastMicroseconds,
    reached: microseconds === null || leastMicroseconds === null ? null : leastMicroseconds / microseconds,
  };
}
