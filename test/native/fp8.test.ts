/** fp8 as the CPU simulates it: against float64 with a rounding of its own, on the trained digits, and what it refuses. */
import {mkdtemp, readdir, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import test from 'ava';
import {architectureByName} from '../../ts/architecture.ts';
import {digits} from '../../ts/digits.ts';
import {checkFp8} from '../../ts/loading/calibration.ts';
import {RepVGG} from '../../ts/model.ts';
import {native} from '../../ts/native/addon.ts';
import {chooseDevice} from '../../ts/native/device.ts';
import {Random} from '../random.ts';
import {block64, type FeatureMap, type FusedBlock, globalAveragePool, relativeL2} from '../reference64.ts';
import {mean, runFused, std} from './fused_network.ts';

/** All that e4m3 has, from 0 to 448, in order. */
const e4m3 = Array.from({length: 127}, (_, bits) => {
  const [exponent, mantissa] = [bits >> 3, bits & 7];
  return exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
});

function toE4m3(value: number): number {
  if (value >= 448) return 448;
  const above = e4m3.findIndex(one => one > value);
  const [low, high] = [e4m3[above - 1]!, e4m3[above]!];
  if (value - low === high - value) return (above - 1) % 2 === 0 ? low : high;
  return value - low < high - value ? low : high;
}

const size = 20;

/** Weights of four bits, which e4m3 holds as they are: what remains is how maps are scaled and rounded. */
function makeBlocks(random: Random): FusedBlock[] {
  const channels = [16, 32, 32, 48, 32];
  return channels.map((outChannels, index) => {
    const inChannels = index === 0 ? 3 : channels[index - 1]!;
    const groups = index === 2 ? 2 : 1;
    const count = (outChannels * inChannels * 9) / groups;
    const weight = Float32Array.from(random.uniform(count, -7, 8), value => Math.floor(value) / 64);
    const shape = {index, stage: 0, position: index, inChannels, outChannels, groups, identity: false};
    return {
      form: 'deploy',
      shape: {...shape, stride: index === 2 ? 1 : 2, squeezeChannels: 0},
      weight,
      bias: random.normal(outChannels, 0.2),
      squeezeExcite: null,
    };
  });
}

/** Every map of every image, as `round` leaves them. */
function maps64(
  blocks: FusedBlock[],
  pixels: Uint8Array,
  round: (value: number, block: number, channel: number) => number,
): FeatureMap[][] {
  const values = size * size * 3;
  return Array.from({length: pixels.length / values}, (_, image) => {
    const data = new Float64Array(values);
    for (let i = 0; i < values; i++) {
      const c = i % 3;
      data[c * size * size + (i - c) / 3] = (pixels[image * values + i]! / 255 - mean[c]!) / std[c]!;
    }
    let map: FeatureMap = {channels: 3, height: size, width: size, data};
    return blocks.map((block, index) => {
      const {height, width, ...out} = block64(map, block);
      map = {
        ...out,
        height,
        width,
        data: out.data.map((x, i) => round(x, index, Math.floor(i / height / width))),
      };
      return map;
    });
  });
}

test('ranges are the largest values of each channel of each map', async t => {
  const random = new Random('ranges');
  const blocks = makeBlocks(random);
  const pixels = Uint8Array.from(random.uniform(3 * size * size * 3, 0, 256));
  const ranges = await runFused(blocks, pixels, size, 'fp32', 'ranges');
  const expected = blocks.flatMap((block, index) =>
    Array.from({length: block.shape.outChannels}, (_, channel) => {
      const largest = maps64(blocks, pixels, x => x).map(maps => {
        const {data, height, width} = maps[index]!;
        return Math.max(...data.subarray(channel * height * width, (channel + 1) * height * width));
      });
      return Math.max(...largest);
    }),
  );
  t.true(relativeL2(ranges, Float64Array.from(expected)) < 1e-6);
});

test('ranges are measured in fp32, and refused in other precisions', async t => {
  const blocks = makeBlocks(new Random('ranges'));
  const pixels = new Uint8Array(size * size * 3);
  const ranges = new Float32Array(blocks.reduce((sum, {shape}) => sum + shape.outChannels, 0)).fill(4);
  for (const precision of native().cpuInfo().bf16 ? (['bf16', 'fp8'] as const) : (['fp8'] as const)) {
    await t.throwsAsync(runFused(blocks, pixels, size, precision, 'ranges', ranges), {
      code: 'ERR_PRECISION_UNSUPPORTED',
      message: /fp32 only/,
    });
  }
});

test('the simulation rounds maps as float64 does, and no more', async t => {
  const random = new Random('fp8');
  const blocks = makeBlocks(random);
  const pixels = Uint8Array.from(random.uniform(2 * size * size * 3, 0, 256));
  const ranges = await runFused(blocks, pixels, size, 'fp32', 'ranges');
  ranges[3] = 0; // As if calibration had not seen the channel.
  const got = await runFused(blocks, pixels, size, 'fp8', 'embedding', ranges);
  const first = blocks.map((_, index) =>
    blocks.slice(0, index).reduce((sum, {shape}) => sum + shape.outChannels, 0),
  );
  const round = (value: number, block: number, channel: number): number => {
    if (block === blocks.length - 1) return value;
    const own = ranges.subarray(first[block], first[block + 1]);
    const range = Math.max(own[channel]!, Math.max(...own) / 64);
    const scale = 2 ** Math.ceil(Math.log2((8 * range) / 448));
    return toE4m3(value / scale) * scale;
  };
  const embeddings = (rounding: typeof round): Float64Array =>
    Float64Array.from(maps64(blocks, pixels, rounding).flatMap(maps => [...globalAveragePool(maps.at(-1)!)]));
  const simulated = relativeL2(got, embeddings(round));
  const exact = relativeL2(
    got,
    embeddings(value => value),
  );
  t.log(simulated, exact);
  // A sum that is nearly between two values may go to the other.
  t.true(simulated < exact / 20, `relative L2 ${simulated}, and ${exact} of the exact network`);
  t.true(exact > 1e-3 && exact < 0.1, `relative L2 ${exact}`);
});

test('on the digits fp8 changes the logits by some per cent, whatever the batch', async t => {
  const names = (await readdir(digits.images)).toSorted().slice(0, 40);
  const images = names.map(name => path.join(digits.images, name));
  const load = async (options: object): Promise<Float32Array[]> => {
    await using model = await RepVGG.load('digits', {device: 'cpu', ...options});
    return model.logits(images);
  };
  const exact = await load({precision: 'fp32'});
  const calibration = images.slice(0, 16);
  const got = await load({precision: 'fp8-simulated', calibration});
  const again = await load({
    precision: 'fp8-simulated',
    calibration: calibration.toReversed(),
    batchSize: 5,
    threads: 1,
  });
  const [flat, flatAgain] = [got, again].map(logits => logits.flatMap(one => [...one]));
  t.true(relativeL2(Float64Array.from(flatAgain!), Float64Array.from(flat!)) < 1e-2);
  const distance = relativeL2(Float64Array.from(flat!), Float64Array.from(exact.flatMap(one => [...one])));
  t.log(distance);
  t.true(distance > 1e-3 && distance < 0.1, `relative L2 ${distance}`);
  const best = (logits: Float32Array): number => logits.indexOf(Math.max(...logits));
  t.deepEqual(got.map(best), exact.map(best));
});

test('fp8 is refused where it cannot be had, and without images', async t => {
  const code = 'ERR_PRECISION_UNSUPPORTED';
  if (native().cudaInfo().devices.length === 0) {
    t.throws(() => chooseDevice('auto', 'fp8'), {code, message: /9\.0.*"fp8-simulated"/});
  }
  t.throws(() => chooseDevice('cpu', 'fp8'), {code, message: /H200.*use "fp32" or "bf16"/});
  t.throws(() => chooseDevice('cuda', 'fp8-simulated'), {code, message: /on the CPU/});
  t.like(chooseDevice('auto', 'fp8-simulated').device, {name: 'cpu', reason: 'fp8 is simulated on the CPU.'});
  t.throws(() => checkFp8(architectureByName('D2se')), {code, message: /squeeze-and-excite/});
  t.throws(() => checkFp8(architectureByName('B2g4')), {code, message: /16 channels.*not 40/});
  t.notThrows(() => checkFp8(architectureByName('B3g4')));
  const load = (calibration: unknown) => () =>
    RepVGG.load('digits', {device: 'cpu', precision: 'fp8-simulated', calibration: calibration as string});
  for (const calibration of [undefined, [], '', 7]) {
    await t.throwsAsync(load(calibration), {code: 'ERR_INVALID_ARGUMENT', message: /for calibration but/});
  }
  for (const calibration of [[], 'digits'])
    await t.throwsAsync(RepVGG.load('digits', {device: 'cpu', precision: 'fp32', calibration}), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /no images, which only .*"fp8-simulated" take, for calibration but/,
    });
  const empty = await mkdtemp(path.join(tmpdir(), 'repvgg-'));
  await t.throwsAsync(load(empty), {code: 'ERR_SOURCE'});
  const list = path.join(empty, 'list.csv');
  await writeFile(list, 'path\n');
  await t.throwsAsync(load(list), {
    code: 'ERR_SOURCE',
    message: `Cannot calibrate with ${list}: it has no images.`,
  });
  await rm(empty, {recursive: true});
  await t.throwsAsync(load(empty), {code: 'ERR_FILE_NOT_FOUND'});
  await t.throwsAsync(load(['/nonexistent.png']), {code: 'ERR_FILE_NOT_FOUND'});
});
