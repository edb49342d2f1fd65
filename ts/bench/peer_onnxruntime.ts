import {createRequire} from 'node:module';
import {join} from 'node:path';
import {writeOnnx} from '../onnx.ts';
import {defaultPreprocessing} from '../preprocessing.ts';
import {repeat} from './measure.ts';
import {outputError, type Peer} from './peers.ts';
import {engineInput, type NetworkCase} from './stages.ts';
import {randomNetwork} from './workload.ts';

/** What is used of onnxruntime-node, which is no dependency of this package. */
interface OnnxRuntime {
  env: {versions: {node?: string; common: string}};
  InferenceSession: {create(path: string, options: object): Promise<Session>};
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown;
}

interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, {data: Float32Array}>>;
  release(): Promise<void>;
}

/** onnxruntime-node as it is where the command runs, or beside this package; null where it is not installed. */
export function findOnnxRuntime(): OnnxRuntime | null {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      return createRequire(from)('onnxruntime-node') as OnnxRuntime;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return null;
}

/**
 * fp32 with its default options but for the threads, on a GPU by its CUDA provider. It takes normalised floats where we take bytes, which is in
 * its favour.
 */
export function onnxRuntimePeer(
  runtime: OnnxRuntime,
  device: 'cpu' | 'cuda',
  folder: string,
  threads: number,
): Peer {
  const {InferenceSession, Tensor} = runtime;
  return {
    runner: 'onnxruntime-node',
    precision: 'fp32',
    async open(network, ours) {
      const {architecture, batch} = network;
      const {crop} = defaultPreprocessing(architecture);
      const path = join(folder, `${architecture.name}.onnx`);
      await writeOnnx(path, randomNetwork(architecture, 'deploy'), crop);
      let session: Session;
      try {
        const options = {intraOpNumThreads: threads, executionProviders: [device]};
        session = await InferenceSession.create(path, options);
      } catch (error) {
        return `${(error as Error).message.split('\n')[0]}.`;
      }
      const input = new Tensor('float32', normalised(network), [batch, 3, crop, crop]);
      const run = async (): Promise<Float32Array> => (await session.run({input})).logits!.data;
      return {
        outputError: outputError(await run(), await ours.logits()),
        contestant: {sample: seconds => repeat(run, batch, seconds), close: () => session.release()},
      };
    },
  };
}

/** The batch as PyTorch's networks take it: [batch][3][crop][crop]. */
function normalised(network: NetworkCase): Float32Array {
  const {crop, mean, std} = defaultPreprocessing(network.architecture);
  const {pixels, count} = engineInput(network);
  const area = crop * crop;
  const values = new Float32Array(count * 3 * area);
  for (let i = 0; i < values.length; i++) {
    const [image, channel, at] = [Math.floor(i / (3 * area)), Math.floor(i / area) % 3, i % area];
    values[i] = (pixels[(image * area + at) * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
  }
  return values;
}
