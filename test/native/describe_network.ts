/** Runs a small network on the CPU in each of the given ways, and prints how it ran and what came out. Argument: JSON of {@link Way}s. */
import {type NativeNetworkOptions, type NetworkDescription, native} from '../../ts/native/addon.ts';
import {Random} from '../random.ts';

export interface Way extends Partial<Pick<NativeNetworkOptions, 'algorithm' | 'winograd' | 'precision'>> {
  /** With squeeze-and-excite. */
  isGated?: boolean;
}

export interface Outcome extends NetworkDescription {
  embedding: number[];
  /** The most memory that the process has taken so far. */
  peakKilobytes: number;
}

const channels = 64;
const [height, width] = [24, 24];

async function run({isGated = false, ...options}: Way): Promise<Outcome> {
  const random = new Random('describe');
  const squeezeChannels = isGated ? 4 : 0;
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
    {backend: 'cpu', precision: 'fp32', batchSize: 1, threads: 1, ...options},
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
  const embedding = await network.run({pixels, count: 1}, 'embedding', new Uint8Array(1));
  const description = JSON.parse(await network.describe());
  await network.dispose();
  return {...description, embedding: [...embedding], peakKilobytes: process.resourceUsage().maxRSS};
}

const outcomes: Outcome[] = [];
for (const way of JSON.parse(process.argv[2]!)) outcomes.push(await run(way));
console.log(JSON.stringify(outcomes));
