// node --import=tsx test/images/fs_while_decoding.ts jpeg|png: decodes and resizes a dozen of large images and prints in JSON how long one takes
// alone, in ms, and in which share of the time a file call was under way that took longer than a quarter of that.
import {stat} from 'node:fs/promises';
import sharp from 'sharp';
import {architectureByName} from '../../ts/architecture.ts';
import {prepareImage} from '../../ts/images/images.ts';
import {defaultPreprocessing} from '../../ts/preprocessing.ts';

async function main(): Promise<void> {
  const noise = {type: 'gaussian', mean: 128, sigma: 30} as const;
  const picture = sharp({create: {width: 4000, height: 3000, channels: 3, background: 'grey', noise}});
  const bytes = await (process.argv[2] === 'png'
    ? picture.png({compressionLevel: 1})
    : picture.jpeg()
  ).toBuffer();
  const preprocessing = defaultPreprocessing(architectureByName('A0'));
  const prepare = (): Promise<void> =>
    prepareImage(bytes, 'x', preprocessing, new Uint8Array(224 * 224 * 3), 0);
  await prepare();
  const start = performance.now();
  await prepare();
  const alone = performance.now() - start;
  let decoding = true;
  const all = Promise.all(Array.from({length: 12}, prepare)).finally(() => {
    decoding = false;
  });
  const waits: number[] = [];
  while (decoding) {
    const asked = performance.now();
    await stat('.');
    waits.push(performance.now() - asked);
  }
  await all;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const waiting = sum(waits.filter(wait => wait > alone / 4)) / sum(waits);
  console.log(JSON.stringify({alone, waiting, calls: waits.length}));
}

void main();
