// Prints what scripts/test_arm64.mjs compares between processors: hashes of the pixels of JPEGs, as decoded and as prepared for a network,
// and the digits network's logits in every algorithm.
import {createHash} from 'node:crypto';
import {readdirSync} from 'node:fs';
import path from 'node:path';
import {decodeImage, prepareImage} from '../../dist/images/images.js';
import {RepVGG} from '../../dist/index.js';

const root = path.resolve(import.meta.dirname, '../..');
const files = folder => readdirSync(path.join(root, folder)).map(name => path.join(root, folder, name));
const pixels = {};
for (const file of files('test/fixtures/jpegs').filter(name => name.endsWith('.jpg'))) {
  const {data, width, height} = await decodeImage(file, file);
  pixels[path.basename(file)] = [width, height, hash(data)];
  for (const interpolation of ['bilinear', 'bicubic']) {
    const out = new Uint8Array(96 * 96 * 3);
    const geometry = {resize: 110, crop: 96, interpolation, squash: false, autoOrient: false};
    await prepareImage(file, file, geometry, out, 0);
    pixels[`${path.basename(file)}, ${interpolation}`] = hash(out);
  }
}
const logits = {};
for (const algorithm of ['direct', 'f2', 'f4x2', 'f4']) {
  process.env.REPVGG_ALGORITHM = algorithm;
  const model = await RepVGG.load('digits', {device: 'cpu'});
  const images = files('assets/digits/images').slice(0, 40);
  logits[algorithm] = (await model.logits(images)).map(row => [...row]);
  await model.dispose();
}
console.log(JSON.stringify({pixels, logits}));

function hash(data) {
  return createHash('sha256').update(data).digest('hex');
}
