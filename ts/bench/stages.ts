import {rm} from 'node:fs/promises';
import {join} from 'node:path';
import {officialStateDict} from '../checkpoint/official_state_dict.ts';
import {writePyTorch} from '../checkpoint/write_pytorch.ts';
import {decodeImage, prepareImage, type RgbImage} from '../images/images.ts';
import {RepVGG} from '../model.ts';
import {type NativeBatch, type NetworkDescription, native} from '../native/addon.ts';
import {type DeviceList, isFp8} from '../native/device.ts';
import {describeNetwork} from '../native/native_network.ts';
import type {Preprocessing} from '../preprocessing.ts';
import {doNotFit, imagesInFlight} from '../scoring/batches.ts';
import {type Contestant, repeat, stream, timeEach} from './measure.ts';
import {type BenchModel, withParameters} from './models.ts';
import {createCase, type NetworkCase} from './network.ts';
import {jpegSize, randomJpegs, randomPixels} from './workload.ts';

/** The network alone, with what it computes: logits, or the features of a backbone. */
export interface Engine extends Contestant {
  output(): Promise<Float32Array>;
  describe(): Promise<NetworkDescription>;
}

const jpegCount = 32;
let jpegs: Promise<Buffer[]> | undefined;

/** Created once, when first needed. */
function jpegPool(): Promise<Buffer[]> {
  jpegs ??= randomJpegs(jpegCount);
  return jpegs;
}

/** The input of the network: noise. */
export function engineInput({model, batch}: Pick<NetworkCase, 'model' | 'batch'>): NativeBatch {
  const {crop} = model.preprocessing;
  try {
    return {pixels: randomPixels(batch, crop), count: batch};
  } catch (cause) {
    throw doNotFit(batch, crop, cause);
  }
}

/** The network alone: from 8-bit pixels to its output, both in device memory. */
export async function openEngine(network: NetworkCase): Promise<Engine> {
  const {architecture} = network.model;
  const engine = await createCase(network);
  const input = engineInput(network);
  const cancel = new Uint8Array(1);
  const run = (): Promise<Float32Array> =>
    engine.run(input, architecture.numClasses > 0 ? 'logits' : 'embedding', cancel);
  return {
    output: run,
    describe: () => describeNetwork(engine),
    sample: seconds => engine.measureRate(input, seconds, cancel),
    latencies: seconds => timeEach(run, seconds),
    close: () => engine.dispose(),
  };
}

/** Writes the fused network as a checkpoint. {@link openEngine} does without one. */
export async function writeCheckpoint(model: BenchModel, folder: string): Promise<string> {
  const path = join(folder, `${model.architecture.name}.pth`);
  await withParameters(model, 'deploy', async network =>
    writePyTorch(path, await officialStateDict(network, 'deploy')),
  );
  return path;
}

/** From JPEG bytes to labels, or features, through the public interface, with two batches in flight. */
export async function openPipeline(network: NetworkCase, folder: string): Promise<Contestant> {
  const {device, precision, batch, threads} = network;
  const {architecture, preprocessing, file} = network.model;
  const checkpoint = file ?? (await writeCheckpoint(network.model, folder));
  const pool = await jpegPool();
  const model = await RepVGG.load(checkpoint, {
    architecture,
    preprocessing,
    device: device.members as DeviceList,
    precision,
    ...(isFp8(precision) && {calibration: pool}),
    threads,
    batchSize: batch,
  });
  if (file === null) await rm(checkpoint);
  const inputs = Array.from({length: batch}, (_, i) => pool[i % pool.length]!);
  const run = (): Promise<unknown> =>
    architecture.numClasses > 0 ? model.classify(inputs) : model.embed(inputs);
  return {
    sample: seconds => stream(run, batch, seconds),
    latencies: seconds => timeEach(run, seconds),
    close: () => model.dispose(),
  };
}

/** From JPEG bytes to the pixels that the crop is made of, with the concurrency of the pipeline. */
export async function openDecode(preprocessing: Preprocessing): Promise<Contestant> {
  const pool = await jpegPool();
  const {crop: side, resize} = preprocessing;
  const crop = resize === 0 ? side : Math.ceil((side * jpegSize.height) / resize);
  const unresized = {...preprocessing, resize: 0, crop};
  const size = crop ** 2 * 3;
  const out = new Uint8Array(pool.length * size);
  const all = (): Promise<unknown> =>
    inFlight(pool.length, i => prepareImage(pool[i]!, `image ${i}`, unresized, out, i * size));
  return {sample: seconds => repeat(all, pool.length, seconds), close: async () => {}};
}

/** Resizing and cropping decoded images, with the concurrency of the pipeline. */
export async function openPreprocess(preprocessing: Preprocessing): Promise<Contestant> {
  const pool = await jpegPool();
  const images: RgbImage[] = [];
  for (const jpeg of pool) images.push(await decodeImage(jpeg, 'image'));
  const size = preprocessing.crop ** 2 * 3;
  const out = new Uint8Array(images.length * size);
  const all = (): Promise<unknown> =>
    inFlight(images.length, i => {
      const {data, width, height} = images[i]!;
      return native().resizeCrop(data, width, height, preprocessing, out, i * size);
    });
  return {sample: seconds => repeat(all, images.length, seconds), close: async () => {}};
}

async function inFlight(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({length: imagesInFlight()}, worker));
}
