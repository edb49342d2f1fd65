import test from 'ava';
import {layersOf} from '../../ts/bench/layers.ts';
import {variant} from '../../ts/bench/models.ts';
import {chooseDevice, type Precision} from '../../ts/native/device.ts';
import {reportOf} from './results.ts';

/** A2's layers in a run of so many images together, each by `algorithm` and in a millisecond an image. */
function layersOfA2(
  batch: number,
  algorithm: string,
  device: 'cpu' | 'cuda' = 'cpu',
  precision = 'fp32' as Exclude<Precision, 'auto'>,
) {
  const placement = chooseDevice('cpu', 'fp32');
  const named = {...placement, precision, device: {...placement.device, backend: device}};
  const network = {...named, model: variant('A2'), form: 'deploy', batch, threads: 2} as const;
  const layer = {algorithm, source: 'measured', microseconds: {}, imageMicroseconds: 1000} as const;
  const description = {batchSize: batch, layers: Array.from({length: 22}, () => layer)};
  // 200 GFLOP/s, 10 GB/s.
  return layersOf({network, description}, reportOf([]).limits).layers;
}

test('the roofline of a layer is its multiplications, or in small batches its weights', t => {
  const [one, eight] = [layersOfA2(1, 'direct'), layersOfA2(8, 'direct')];
  // 384 -> 1408 channels at 7x7: 9 * 384 * 1408 weights of 4 bytes, each used 49 times.
  const weights = 9 * 384 * 1408;
  t.like(one[21], {name: 'stage4.0', inChannels: 384, outChannels: 1408, height: 7});
  t.is(one[21]!.products, 49 * weights);
  t.is(one[21]!.leastMicroseconds, (2 * 49 * weights) / 200e3);
  const winograd = (batch: number) => layersOfA2(batch, 'f4')[21]!;
  // By F(4x4) 36 numbers instead of 9, and two tiles of six along seven pixels: 1e9 bytes are 1e5 microseconds.
  t.is(winograd(1).products, 12 * 12 * 384 * 1408);
  t.is(winograd(1).leastMicroseconds, (36 * 384 * 1408 * 4) / 10e3);
  t.is(winograd(8).leastMicroseconds, (36 * 384 * 1408 * 4) / 10e3 / 8);
  t.is(winograd(32).leastMicroseconds, (2 * 144 * 384 * 1408) / 200e3);
  t.is(winograd(1).reached, winograd(1).leastMicroseconds! / 1000);
  // The first layers have few weights: the batch changes nothing.
  t.is(one[0]!.leastMicroseconds, eight[0]!.leastMicroseconds);
  t.is(one[0]!.leastMicroseconds, (2 * 9 * 3 * 64 * 112 * 112) / 200e3);
});

test('fp32, simulated fp8 too, is held against multiply-adds, also on a GPU', t => {
  // Such a run has no peak of tensor cores.
  const least = (2 * 49 * 9 * 384 * 1408) / 200e3;
  t.is(layersOfA2(32, 'direct', 'cuda')[21]!.leastMicroseconds, least);
  t.is(layersOfA2(32, 'direct', 'cpu', 'fp8-simulated')[21]!.leastMicroseconds, least);
});

test('on a GPU a layer also has to read one map and write another', t => {
  const [first, second] = layersOfA2(1000, 'direct', 'cuda', 'fp32');
  // 10 GB/s against 200 GFLOP/s: of the first layer, whose input is bytes, the map of 112 x 112 x 64 numbers takes longest.
  const weights = 9 * 3 * 64;
  t.is(first!.leastMicroseconds, ((4 * weights) / 1000 + 3 * 224 * 224 + 4 * 64 * 112 * 112) / 10e3);
  t.is(second!.leastMicroseconds, (2 * 9 * 64 * 96 * 56 * 56) / 200e3);
});
