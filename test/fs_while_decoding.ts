// node --import=tsx test/fs_while_decoding.ts jpeg|png: decodes and resizes a dozen of large images and prints in JSON how long one takes
// alone, and how long a file call had to wait at most meanwhile; both in ms.
import {stat} from 'node:fs/promises';
import sharp from 'sharp';
import {architectureByName} from '../ts/architecture.ts';
import {prepareImage} from '../ts/images.ts';
import {defaultPreprocessing} from '../ts/preprocessing.ts';

async function main(): Promise<void> {
  const noise = {type: 'gaussian', mean: 128, sigma: 30} as const;
  const picture = sharp({create: {width: 4000, height: 3000, channels: 3, background: 'grey', noise}});
  const bytes = await (process.argv[2] === 'png'
    ? picture.png({compressionLevel: 1})
    : picture.jpeg()
  ).toBuffer();
  const preprocessing = defaultPreprocessing(architectureByName('A0'));
  const out = new Uint8Array(224 * 224 * 3);
  const prepare = (): Promise<void> => prepareImage(bytes, 'x', preprocessing, out, 0);
  await prepare();
  const start = performance.now();
  await prepare();
  const alone = performance.now() - start;
  let decoding = true;
  const all = Promise.all(Array.from({length: 12}, prepare)).finally(() => {
    decoding = false;
  });
  let longest = 0;
  while (decoding) {
    const asked = performance.now();
    await stat('.');
    longest = Math.max(longest, performance.now() - asked);
  }
  await all;
  console.log(JSON.stringify({alone, longest}));
}

void main();
