// A worker that starts more work than it can finish and then ends as `workerData` says.
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parentPort, workerData} from 'node:worker_threads';

const root = process.env.REPVGG_PREBUILD ?? fileURLToPath(new URL('../..', import.meta.url));
const addon = createRequire(import.meta.url)(join(root, 'build/Release/repvgg.node'));
const block = {inChannels: 3, outChannels: 64, stride: 1, groups: 1, identity: false, squeezeChannels: 0};
const shape = {
  form: 'deploy',
  squeezeExcite: null,
  blocks: [block],
  numClasses: 0,
  height: 112,
  width: 112,
  mean: [0, 0, 0],
  std: [1, 1, 1],
};
const network = new addon.Network(shape, {backend: 'cpu', precision: 'fp32', batchSize: 8});
await network.setBlock(0, {
  weight: new Float32Array(64 * 27),
  bias: new Float32Array(64),
  squeezeExcite: null,
});

const batch = {pixels: new Uint8Array(16 * 112 * 112 * 3), count: 16};
const geometry = {resize: 256, crop: 224, interpolation: 'bilinear'};
for (let i = 0; i < 20; i++) {
  network.run(batch, 'embedding', new Uint8Array(1)).catch(() => {});
  addon.resizeCrop(batch.pixels, 112, 112, geometry, new Uint8Array(224 * 224 * 3), 0).catch(() => {});
}
parentPort.postMessage('busy');
if (workerData === 'exit') process.exit(0);
if (workerData === 'throw') throw new Error('on purpose');
