import {join} from 'node:path';
import {differenceOf} from '../support/difference.ts';
import {repeat, timeEach} from './measure.ts';
import {normalisedInput, type Peer, writeOnnxOf} from './peer.ts';

/** The part of onnxruntime-node that is used; it is not a dependency of this package. */
export interface OnnxRuntime {
  env: {versions: {node?: string; common: string}};
  InferenceSession: {create(path: string, options: object): Promise<Session>};
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown;
}

interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, {data: Float32Array}>>;
  release(): Promise<void>;
}

/**
 * Runs with default options except for the threads; on a GPU with the CUDA provider. Its input is normalised floats instead of bytes, which
 * is to its advantage.
 */
export function onnxRuntimePeer(
  {InferenceSession, Tensor}: OnnxRuntime,
  precision: 'fp32' | 'fp16',
  device: 'cpu' | 'cuda',
  folder: string,
  threads: number,
): Peer {
  return {
    runner: 'onnxruntime-node',
    precision,
    async open(network, ours) {
      const path = join(folder, `${network.model.architecture.name}-${precision}.onnx`);
      await writeOnnxOf(network, path, precision);
      let session: Session;
      try {
        const options = {intraOpNumThreads: threads, executionProviders: [device]};
        session = await InferenceSession.create(path, options);
      } catch (error) {
        return `${(error as Error).message.split('\n')[0]}.`;
      }
      const {data, shape} = normalisedInput(network);
      const input = new Tensor('float32', data, shape);
      const name = network.model.architecture.numClasses > 0 ? 'logits' : 'features';
      const run = async (): Promise<Float32Array> => (await session.run({input}))[name]!.data;
      return {
        outputError: differenceOf(await run(), await ours.output()).relative,
        contestant: {
          sample: seconds => repeat(run, network.batch, seconds),
          latencies: seconds => timeEach(run, seconds),
          close: () => session.release(),
        },
      };
    },
  };
}
