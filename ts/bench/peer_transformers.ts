import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {differenceOf} from '../support/difference.ts';
import {repeat, timeEach} from './measure.ts';
import {normalisedInput, type Peer, writeOnnxOf} from './peer.ts';

/** The part of @huggingface/transformers that is used; it is not a dependency of this package. */
export interface Transformers {
  env: {version: string};
  AutoModelForImageClassification: {from_pretrained(path: string, options: object): Promise<Model>};
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown;
}

interface Model {
  (inputs: Record<string, unknown>): Promise<{logits: {data: Float32Array}}>;
  dispose(): Promise<unknown>;
}

/**
 * Runs in fp32 with default options except for the threads. It loads only model types that it knows, and RepVGG is not one of them. The
 * fused network is declared a "resnet", whose ONNX file is run as it is.
 */
export function transformersPeer(
  {AutoModelForImageClassification, Tensor}: Transformers,
  device: 'cpu' | 'cuda',
  folder: string,
  threads: number,
): Peer {
  return {
    runner: 'transformers',
    precision: 'fp32',
    async open(network, ours) {
      const {architecture} = network.model;
      if (architecture.numClasses === 0) return 'it runs only networks with a classifier.';
      const repository = join(folder, architecture.name);
      await mkdir(join(repository, 'onnx'), {recursive: true});
      await writeOnnxOf(network, join(repository, 'onnx/model.onnx'), 'fp32');
      await writeFile(join(repository, 'config.json'), '{"model_type": "resnet"}');
      let model: Model;
      try {
        model = await AutoModelForImageClassification.from_pretrained(repository, {
          local_files_only: true,
          dtype: 'fp32',
          device,
          session_options: {intraOpNumThreads: threads},
        });
      } catch (error) {
        return `${(error as Error).message.split('\n')[0]}.`;
      }
      const {data, shape} = normalisedInput(network);
      const input = new Tensor('float32', data, shape);
      const run = async (): Promise<Float32Array> => (await model({input})).logits.data;
      return {
        outputError: differenceOf(await run(), await ours.output()).relative,
        contestant: {
          sample: seconds => repeat(run, network.batch, seconds),
          latencies: seconds => timeEach(run, seconds),
          close: async () => {
            await model.dispose();
          },
        },
      };
    },
  };
}
