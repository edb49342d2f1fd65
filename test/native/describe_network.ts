/** Prints how a small network runs on the CPU, and the most memory that this took. Arguments: the algorithm, or empty for the engine's choice; "gated". */
import {type NativeNetworkOptions, native} from '../../ts/native/addon.ts';
import {Random} from '../random.ts';

const algorithm = process.argv[2] as NativeNetworkOptions['algorithm'] | '';
const isGated = process.argv[3] === 'gated';
const squeezeChannels = isGated ? 4 : 0;
const random = new Random('describe');
const channels = 64;
const [height, width] = [24, 24];
const blocks = [3, channels, channels].map((inChannels, index) => ({
  inChannels,
  outChannels: channels,
  stride: index === 0 ? (2 as const) : (1 as const),
  groups: 1,
  identity: false,
  squeezeChannels,
}));
const network = new (native().Network)(
  {
    form: 'deploy',
    squeezeExcite: isGated ? 'before-relu' : null,
    blocks,
    numClasses: 0,
    height,
    width,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  },
  {backend: 'cpu', precision: 'fp32', batchSize: 1, threads: 1, ...(algorithm && {algorithm})},
);
const gate = {
  downWeight: random.normal(squeezeChannels * channels, 0.1),
  downBias: random.normal(squeezeChannels, 0.1),
  upWeight: random.normal(channels * squeezeChannels, 0.1),
  upBias: random.normal(channels, 0.1),
};
for (const [index, {inChannels}] of blocks.entries()) {
  await network.setBlock(index, {
    weight: random.normal(channels * inChannels * 9, 0.05),
    bias: random.normal(channels, 0.1),
    squeezeExcite: isGated ? gate : null,
  });
}
const pixels = Uint8Array.from(random.uniform(height * width * 3, 0, 256));
await network.run({pixels, count: 1}, 'embedding', new Uint8Array(1));
const {layers} = JSON.parse(await network.describe());
console.log(JSON.stringify({layers, peakKilobytes: process.resourceUsage().maxRSS}));
await network.dispose();
