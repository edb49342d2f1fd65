import test from 'ava';
import {openCheckpoint} from '../ts/checkpoint/open.ts';
import {decodeImage} from '../ts/images/images.ts';
import {native} from '../ts/native/addon.ts';
import {networkFromCheckpoint} from './checkpoints.ts';
import {checkpoint, expected, photos} from './fixtures.ts';
import {forward64, relativeL2} from './reference64.ts';

const {crop, mean, std} = expected.preprocessing;

/** The normalised pixels of a photograph in float64, [3][crop][crop]. */
async function pixels(photo: string): Promise<Float64Array> {
  const {data, width, height} = await decodeImage(photo, photo);
  const bytes = new Uint8Array(crop * crop * 3);
  await native().resizeCrop(data, width, height, expected.preprocessing, bytes, 0);
  const area = crop * crop;
  return Float64Array.from(bytes, (_, i) => {
    const channel = Math.floor(i / area);
    return (bytes[(i % area) * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
  });
}

for (const [name, {logits, embeddings}] of Object.entries(expected.checkpoints)) {
  test(`on ${name}, the float64 reference computes what PyTorch does in float64`, async t => {
    await using file = await openCheckpoint(checkpoint(name));
    const network = networkFromCheckpoint(file);
    const {squeezeExcite} = network.architecture;
    const options = {height: crop, width: crop, position: squeezeExcite?.position};
    const input = await pixels(photos[0]!);
    const blocks = network.blocks(network.storedForm);
    const actual = await forward64(blocks, await network.linear(), input, options);
    t.true(relativeL2(actual.embedding, Float64Array.from(embeddings[0]!)) < 1e-12);
    t.is(actual.logits === null, logits === null);
    if (logits) t.true(relativeL2(actual.logits!, Float64Array.from(logits[0]!)) < 1e-12);
  });
}
