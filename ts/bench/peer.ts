import {createRequire} from 'node:module';
import {join} from 'node:path';
import {writeOnnx} from '../checkpoint/onnx/write_onnx.ts';
import type {Contestant} from './measure.ts';
import {withParameters} from './models.ts';
import type {NetworkCase} from './network.ts';
import {type Engine, engineInput} from './stages.ts';

/** Another runtime that runs the same network in the same rounds. */
export interface Peer {
  runner: string;
  precision: string;
  /** Loads the network and compares its output with that of `ours` on the same images, or returns why it cannot. */
  open(network: NetworkCase, ours: Engine): Promise<OpenPeer | string>;
}

export interface OpenPeer {
  contestant: Contestant;
  /** Relative L2. */
  outputError: number;
}

/** Loads a package installed in the current folder or beside this package; null if it is not installed. */
export function findInstalled<Package>(name: string): Package | null {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      return createRequire(from)(name) as Package;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return null;
}

/** Writes the fused network as ONNX. */
export async function writeOnnxOf(
  {model}: NetworkCase,
  path: string,
  precision: 'fp32' | 'fp16',
): Promise<void> {
  await withParameters(model, 'deploy', parameters =>
    writeOnnx(path, parameters, model.preprocessing.crop, {precision}),
  );
}

/** The normalised batch in PyTorch's layout: [batch][3][crop][crop]. */
export function normalisedInput(network: NetworkCase): {data: Float32Array; shape: readonly number[]} {
  const {crop, mean, std} = network.model.preprocessing;
  const {pixels, count} = engineInput(network);
  const area = crop * crop;
  const data = new Float32Array(count * 3 * area);
  for (let i = 0; i < data.length; i++) {
    const [image, channel, at] = [Math.floor(i / (3 * area)), Math.floor(i / area) % 3, i % area];
    data[i] = (pixels[(image * area + at) * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
  }
  return {data, shape: [count, 3, crop, crop]};
}
