/** How far bf16 is from float64 where rounding weights and pixels one by one would be further. */
import {Random} from '../random.ts';
import {type FusedBlock, forward64, relativeL2} from '../reference64.ts';
import {testWithBf16} from '../where.ts';
import {mean, runFused, std} from './fused_network.ts';
import {type Case, error as networkError} from './native_networks.ts';

const size = 32;

/** Fused blocks as training makes them: in the middle of a kernel there is what was the identity branch. */
function makeBlocks(random: Random, channels: number[]): FusedBlock[] {
  return channels.map((outChannels, index) => {
    const inChannels = index === 0 ? 3 : channels[index - 1]!;
    const weight = random.normal(outChannels * inChannels * 9, 0.4 / Math.sqrt(inChannels * 9));
    const identity = inChannels === outChannels;
    for (let c = 0; c < outChannels && identity; c++) weight[(c * inChannels + c) * 9 + 4]! += 0.9;
    return {
      form: 'deploy',
      shape: {
        index,
        stage: 0,
        position: index,
        inChannels,
        outChannels,
        stride: 1,
        groups: 1,
        identity,
        squeezeChannels: 0,
      },
      weight,
      bias: random.normal(outChannels, 0.2),
      squeezeExcite: null,
    };
  });
}

/** Relative L2 of the embeddings of one image. */
async function error(blocks: FusedBlock[], pixels: Uint8Array): Promise<number> {
  const got = await runFused(blocks, pixels, size, 'bf16', 'embedding');
  const input = new Float64Array(pixels.length);
  for (const [i, value] of pixels.entries()) {
    const c = i % 3;
    input[c * size * size + (i - c) / 3] = (value / 255 - mean[c]!) / std[c]!;
  }
  return relativeL2(got, (await forward64(blocks, null, input, {height: size, width: size})).embedding);
}

testWithBf16('pixels are not rounded, and kernels keep their sums', async t => {
  const random = new Random('flat');
  // Few levels, whose errors do not cancel, and many sums of them, whose rounding does.
  const pixels = Uint8Array.from(random.uniform(size * size * 3, 200, 204));
  const worst = await error(makeBlocks(random, [64]), pixels);
  t.log(worst);
  t.true(worst < 1.5e-4, `relative L2 ${worst}`);
});

testWithBf16('kernels keep their sums in a deep network', async t => {
  const random = new Random('deep');
  const pixels = Uint8Array.from({length: size * size * 3}, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % size, Math.floor(i / 3 / size)];
    return 128 + 60 * Math.sin(x / 7 + (i % 3)) + 60 * Math.cos(y / 9);
  });
  const worst = await error(makeBlocks(random, [32, 32, 32, 32, 32, 32, 32, 32, 32, 32]), pixels);
  t.log(worst);
  t.true(worst < 4e-4, `relative L2 ${worst}`);
});

testWithBf16('the first maps of a network of many blocks have two parts', async t => {
  // The second block takes the difference of two channels that differ by a bias; the others pass it on.
  const random = new Random('many');
  const pixels = Uint8Array.from(random.uniform(size * size * 3, 0, 255));
  const errorOf = (count: number) => {
    const blocks = makeBlocks(random, [2, ...Array(count - 1).fill(1)]);
    blocks[0]!.weight.copyWithin(27, 0, 27);
    blocks[0]!.bias.set([2, 2.01]);
    for (const [i, block] of blocks.slice(1).entries()) {
      block.bias.fill(0);
      block.weight.fill(0);
      block.weight[4] = i === 0 ? -64 : 1;
      if (i === 0) block.weight[13] = 64;
    }
    return error(blocks, pixels);
  };
  const [few, many] = [await errorOf(24), await errorOf(25)];
  t.log(few, many);
  t.true(many < 3e-3 && many < few / 4, `relative L2 ${many} of 25 blocks, ${few} of 24`);
});

testWithBf16('behind gates, maps and weights have two parts', async t => {
  for (const position of ['before-relu', 'after-relu'] as const) {
    const testCase: Case = {
      channels: [16, 40, 48],
      strides: [2, 1, 2],
      groups: [1, 1, 2],
      position,
      height: 24,
      width: 20,
    };
    const worst = await networkError(testCase, {threads: 2, precision: 'bf16'});
    t.log(position, worst);
    t.true(worst < 3e-5, `relative L2 ${worst}`);
  }
});
