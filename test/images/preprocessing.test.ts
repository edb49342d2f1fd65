import {execFile} from 'node:child_process';
import {createHash} from 'node:crypto';
import {join} from 'node:path';
import {promisify} from 'node:util';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import sharp from 'sharp';
import {architectureByName} from '../../ts/architecture.ts';
import {decodeImage} from '../../ts/images/images.ts';
import {native} from '../../ts/native/addon.ts';
import {
  checkPreprocessing,
  completePreprocessing,
  defaultPreprocessing,
  type Interpolation,
  type PreprocessingOptions,
} from '../../ts/preprocessing.ts';
import {temporaryFolder} from '../cli/run.ts';
import {expected, image as odd, photo} from '../fixtures.ts';
import {Random} from '../random.ts';
import {pillowResizeCrop} from './pillow.ts';

test('a crop alone resizes to the crop, and to 256 for 224, as the official -r does', t => {
  const own = {...defaultPreprocessing(architectureByName('RepVGG-A0')), resize: 48, crop: 32};
  const sizes = (options: PreprocessingOptions): object => {
    const {resize, crop, squash} = completePreprocessing(options, own);
    return {resize, crop, squash};
  };
  t.deepEqual(sizes({}), {resize: 48, crop: 32, squash: false});
  t.deepEqual(sizes({crop: 320}), {resize: 320, crop: 320, squash: false});
  t.deepEqual(sizes({crop: 224}), {resize: 256, crop: 224, squash: false});
  t.deepEqual(sizes({crop: 224, squash: true}), {resize: 224, crop: 224, squash: true});
  t.deepEqual(sizes({squash: true}), {resize: 32, crop: 32, squash: true});
  t.deepEqual(sizes({crop: 224, resize: 0}), {resize: 0, crop: 224, squash: false});
});

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

async function resizeCrop(
  image: {data: Uint8Array; width: number; height: number},
  resize: number,
  crop: number,
  interpolation: Interpolation = 'bilinear',
  squash = false,
): Promise<Uint8Array> {
  const out = new Uint8Array(crop * crop * 3).fill(77); // Of the batch before.
  const geometry = {resize, crop, interpolation, squash};
  await native().resizeCrop(image.data, image.width, image.height, geometry, out, 0);
  return out;
}

/** pixel(x, y, c) = (7x + 13y + 50c) mod 256 */
function synthetic(width: number, height: number): {data: Uint8Array; width: number; height: number} {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) data[i++] = 7 * x + 13 * y + 50 * c;
    }
  }
  return {data, width, height};
}

// First 16 digits of the SHA-256 of what Pillow 12.3.0 and torchvision 0.29.1 make of the synthetic image.
const golden: [
  width: number,
  height: number,
  resize: number,
  crop: number,
  kind: Interpolation,
  hash: string,
][] = [
  [500, 375, 256, 224, 'bilinear', '13cabd2c88b372b8'],
  [375, 500, 256, 224, 'bilinear', '7855f1ad90cef776'],
  [640, 480, 256, 224, 'bilinear', 'ad8b116895f9cde6'],
  [100, 80, 256, 224, 'bilinear', '2d9a7f38d8124ea7'],
  [256, 256, 256, 224, 'bilinear', 'f4987e8bc43a5c6c'],
  [1024, 333, 256, 224, 'bilinear', '53c4d67054a36165'],
  [343, 257, 256, 224, 'bilinear', 'fa43070de7bf5974'],
  [224, 224, 256, 224, 'bilinear', '1b462ff2fff5b83a'],
  [500, 375, 320, 320, 'bilinear', '34e22e2ae45f6be0'],
  [500, 375, 256, 224, 'bicubic', '8695824d028cdae8'],
];

for (const [width, height, resize, crop, interpolation, hash] of golden) {
  test(`${width} x ${height} resized to ${resize} and cropped to ${crop}, ${interpolation}: Pillow's pixels`, async t => {
    const out = await resizeCrop(synthetic(width, height), resize, crop, interpolation);
    t.is(sha256(out).slice(0, 16), hash);
  });
}

// The same of Resize((n, n)), by torchvision 0.28.
for (const [width, height, resize, crop, interpolation, hash] of [
  [500, 375, 224, 224, 'bilinear', '2885dd60705ea7cd'],
  [375, 500, 256, 224, 'bicubic', 'e765dabc6bd47db5'],
  [100, 80, 96, 128, 'bilinear', 'ae80c81edf16032f'],
  [3, 400, 20, 20, 'bilinear', 'baaaf53fbdb5e02e'],
] as typeof golden) {
  test(`${width} x ${height} squashed to ${resize} and cropped to ${crop}, ${interpolation}: Pillow's pixels`, async t => {
    const out = await resizeCrop(synthetic(width, height), resize, crop, interpolation, true);
    t.is(sha256(out).slice(0, 16), hash);
  });
}

test('images of any shape, resized and cropped in any way: the pixels of Pillow', async t => {
  const random = new Random('geometries');
  for (let i = 0; i < 500; i++) {
    const side = random.pick([4, 20, 80]);
    const width = random.integer(1, side);
    const height = i % 10 === 0 ? width * 100 + random.integer(-1, 40) : random.integer(1, side);
    const data = Uint8Array.from({length: width * height * 3}, () =>
      random.pick([0, 255, random.next() * 256]),
    );
    const resize = i % 8 === 0 ? 0 : random.integer(1, random.pick([3, 20, 60]));
    const crop = random.integer(1, random.pick([3, 20, 60]));
    const interpolation = random.pick(['bilinear', 'bicubic'] as const);
    const squash = i % 3 === 0;
    const image = {data, width, height};
    const wanted = pillowResizeCrop(image, resize, crop, interpolation, squash);
    const message = `${width} x ${height} to ${resize}, ${crop}, ${interpolation}${squash ? ', squashed' : ''}`;
    if (sha256(await resizeCrop(image, resize, crop, interpolation, squash)) !== sha256(wanted))
      t.fail(message);
  }
  t.pass();
});

test('photographs are decoded, resized and cropped to the same pixels as Pillow and torchvision', async t => {
  for (const [name, photograph] of Object.entries(expected.photos)) {
    const image = await decodeImage(photo(name), name);
    t.deepEqual([image.width, image.height], [photograph.width, photograph.height]);
    t.is(sha256(image.data), photograph.rgbSha256, name);
    for (const {resize, crop, interpolation, rgbSha256} of photograph.crops) {
      const out = await resizeCrop(image, resize, crop, interpolation);
      t.is(sha256(out), rgbSha256, `${name} ${resize} ${crop} ${interpolation}`);
    }
  }
});

test('grey, palette, transparent and rotated images, and one with a colour profile, are decoded to the same pixels as Pillow', async t => {
  for (const [name, {width, height, rgbSha256}] of Object.entries(expected.images)) {
    const decoded = await decodeImage(odd(name), name);
    t.deepEqual([decoded.width, decoded.height, sha256(decoded.data)], [width, height, rgbSha256], name);
  }
});

test('WebP, AVIF, TIFF and GIF are decoded too, and nothing else is', async t => {
  const pixels = {data: new Uint8Array(16 * 8 * 3).fill(100), width: 16, height: 8};
  const picture = sharp(pixels.data, {raw: {width: 16, height: 8, channels: 3}});
  for (const format of ['webp', 'avif', 'tiff', 'gif'] as const) {
    const {data, width, height} = await decodeImage(await picture.toFormat(format).toBuffer(), format);
    t.deepEqual([width, height], [16, 8]);
    t.true(
      data.every(value => Math.abs(value - 100) <= 2),
      format,
    );
  }
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>';
  t.is((await sharp(Buffer.from(svg)).metadata()).format, 'svg', 'sharp itself would decode it');
  const message = 'Cannot decode x: it is not a JPEG, PNG, WebP, AVIF, TIFF or GIF image.';
  for (const bytes of [svg, gzipSync(svg), '%PDF-1.7\n', 'P6 1 1 255\nabc', 'GIF', 'x']) {
    await t.throwsAsync(decodeImage(Buffer.from(bytes), 'x'), {code: 'ERR_IMAGE_DECODE', message});
  }
});

test('what is no regular file is not read as an image', async t => {
  const folder = await temporaryFolder(t);
  const pipe = join(folder, 'pipe.png');
  await promisify(execFile)('mkfifo', [pipe]);
  for (const path of [pipe, '/dev/zero']) {
    const message = `Cannot read image ${path}: it is not a regular file.`;
    await t.throwsAsync(decodeImage(path, path), {code: 'ERR_FILE_READ', message});
  }
});

// In turn with the others: libvips has one text for the errors of all threads.
test.serial('CMYK and 16-bit images are decoded, cut and empty ones are refused', async t => {
  for (const name of ['cmyk.jpg', 'grey16.png']) {
    const decoded = await decodeImage(odd(name), name);
    t.is(decoded.data.length, decoded.width * decoded.height * 3, name);
    t.true(new Set(decoded.data).size > 50, `${name} is not flat`);
  }
  const cut = await t.throwsAsync(decodeImage(odd('truncated.jpg'), 'truncated.jpg'), {
    code: 'ERR_IMAGE_DECODE',
  });
  t.regex(cut.message, /^Cannot decode truncated\.jpg: .*premature end of JPEG image\.$/);
  await t.throwsAsync(decodeImage(odd('empty.jpg'), 'empty.jpg'), {
    code: 'ERR_IMAGE_DECODE',
    message: /it is empty/,
  });
  await t.throwsAsync(decodeImage(odd('none.jpg'), 'none.jpg'), {code: 'ERR_FILE_NOT_FOUND'});
  await t.throwsAsync(decodeImage(odd('.'), '.'), {code: 'ERR_FILE_READ', message: /directory/});
});

test('raw pixels are taken as they are, grey is repeated, alpha is dropped, wrong sizes are refused', async t => {
  const raw = async (data: number[], channels: 1 | 3 | 4): Promise<number[]> => [
    ...(await decodeImage({data: Uint8Array.from(data), width: 2, height: 1, channels}, 'x')).data,
  ];
  t.deepEqual(await raw([1, 2], 1), [1, 1, 1, 2, 2, 2]);
  t.deepEqual(await raw([1, 2, 3, 4, 5, 6], 3), [1, 2, 3, 4, 5, 6]);
  t.deepEqual(await raw([1, 2, 3, 9, 4, 5, 6, 9], 4), [1, 2, 3, 4, 5, 6]);
  await t.throwsAsync(raw([1, 2, 3], 1), {code: 'ERR_INVALID_ARGUMENT', message: /Expected 2 bytes/});
  // Nobody allocates this much: the size is looked at first.
  const huge = {data: new Uint8Array(3), width: 2 ** 31, height: 1, channels: 3} as const;
  await t.throwsAsync(decodeImage(huge, 'x'), {code: 'ERR_IMAGE_TOO_LARGE', message: /268 megapixels/});
  for (const width of [1n, {}, Number.NaN, 1.5]) {
    const message = /for x\.width/;
    const image = {...huge, width} as never;
    await t.throwsAsync(decodeImage(image, 'x'), {code: 'ERR_INVALID_ARGUMENT', message});
  }
  await t.throwsAsync(decodeImage({} as never, 'x'), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /Expected a path/,
  });
});

test('an image smaller than the crop is padded with zeros, the odd pixel after it', async t => {
  const image = {data: new Uint8Array(3 * 2 * 3).fill(9), width: 3, height: 2};
  const out = await resizeCrop(image, 0, 6);
  const lit = Array.from({length: 36}, (_, i) => out[i * 3]! > 0);
  const rows = Array.from({length: 6}, (_, y) =>
    lit
      .slice(y * 6, y * 6 + 6)
      .map(Number)
      .join(''),
  );
  t.deepEqual(rows, ['000000', '000000', '011100', '011100', '000000', '000000']);
});

test('without a resize the crop is cut from the middle, halves rounded to even', async t => {
  for (const [size, offset] of [
    [7, 2], // (7 - 4) / 2 = 1.5 -> 2
    [9, 2], // 2.5 -> 2
    [8, 2],
  ] as const) {
    const out = await resizeCrop(synthetic(size, size), 0, 4);
    t.is(out[0], (7 * offset + 13 * offset) % 256);
  }
});

// Full SHA-256 of Resize and CenterCrop by torchvision 0.28.0 on Pillow 12.3.0: images so tall that Pillow runs the
// vertical pass first (height over 100 times the width, made smaller), and one where that rule must not apply.
for (const [width, height, resize, crop, hash] of [
  [3, 400, 2, 2, 'a3fc760d1cc881b9303fdf260d2e6dd10ffe3105813f28eab0cb7809aba32848'],
  [5, 700, 4, 3, '16629d71e7e00f5c534f36f4aa4239ab7b1f3510787a71ecdf8bf2377afacbe5'],
  [2, 900, 256, 224, '026b0d867ad06024cbe6fcf378dcd903a6faf9edec9c63e7198209c3cc47a1ea'],
] as const) {
  test(`${width} x ${height}, a very tall image, resized to ${resize}: Pillow's pixels`, async t => {
    t.is(sha256(await resizeCrop(synthetic(width, height), resize, crop)), hash);
  });
}

test('a very long image costs only its crop', async t => {
  const long = {data: new Uint8Array(3_000_000).fill(7), width: 1_000_000, height: 1};
  t.true((await resizeCrop(long, 256, 224)).every(value => value === 7));
});

test('writes at the offset it is given and nowhere else', async t => {
  const out = new Uint8Array(3 * 12).fill(1);
  await native().resizeCrop(
    new Uint8Array(3 * 4).fill(200),
    2,
    2,
    {resize: 2, crop: 2, interpolation: 'bilinear'},
    out,
    12,
  );
  t.deepEqual([...out], [...Array(12).fill(1), ...Array(12).fill(200), ...Array(12).fill(1)]);
});

test('networks with squeeze-and-excite see 320 pixels, all others 224 of 256', t => {
  const imageNet = {
    interpolation: 'bilinear',
    squash: false,
    autoOrient: false,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  };
  for (const [name, resize, crop] of [
    ['RepVGG-A0', 256, 224],
    ['RepVGG-B3g4', 256, 224],
    ['RepVGG-D2se', 320, 320],
    ['RepVGGplus-L2pse', 320, 320],
  ] as const) {
    t.deepEqual(defaultPreprocessing(architectureByName(name)) as object, {resize, crop, ...imageNet});
  }
});

test('options out of range are refused by name', t => {
  const message =
    /^Expected .* for preprocessing\.(resize|crop|interpolation|squash|autoOrient|mean|std) but received /;
  for (const bad of [
    {resize: -1},
    {resize: 1.5},
    {crop: 0},
    {crop: 5000},
    {interpolation: 'nearest' as Interpolation},
    {autoOrient: 1 as never},
    {squash: 224 as never},
    {mean: [0, 0] as unknown as [number, number, number]},
    {std: [1, 0, 1] as [number, number, number]},
    {std: [1, 1, 1e-300] as [number, number, number]},
    {std: [1, 1, '1'] as never},
    {mean: [0, Number.NaN, 0] as [number, number, number]},
    {mean: [0, 1e300, 0] as [number, number, number]},
  ]) {
    t.throws(() => checkPreprocessing(bad), {code: 'ERR_INVALID_ARGUMENT', message});
  }
  t.throws(() => checkPreprocessing({mean: [123.675, 116.28, 103.53]}), {
    message: /^Expected three numbers from -1 to 1 \(pixel values are 0 to 1\) for preprocessing\.mean /,
  });
  t.throws(() => checkPreprocessing({size: 320} as never), {
    code: 'ERR_INVALID_ARGUMENT',
    message:
      'Expected "resize", "crop", "interpolation", "squash", "autoOrient", "mean", "std" for the fields of preprocessing but received "size".',
  });
  t.notThrows(() =>
    checkPreprocessing({resize: 0, crop: 1, interpolation: 'bicubic', mean: [0, 0, 0], std: [1, 1, 1]}),
  );
});
