import {createHash} from 'node:crypto';
import {readdir, readFile, symlink, truncate, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import sharp from 'sharp';
import {mostImageBytes} from '../../ts/images/encoded_image.ts';
import {decodeImage, prepareImage} from '../../ts/images/images.ts';
import {type NativeGeometry, native} from '../../ts/native/addon.ts';
import type {Preprocessing} from '../../ts/preprocessing.ts';
import {temporaryFolder} from '../cli/run.ts';
import {expected, image, jpeg, photo, photos} from '../fixtures.ts';
import {Random} from '../random.ts';
import {testWithJpeg} from '../where.ts';

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** What sharp alone makes of it, or why it makes nothing. */
async function bySharp(bytes: Uint8Array): Promise<Buffer | string> {
  try {
    const picture = sharp(bytes, {failOn: 'error', ignoreIcc: true}).toColourspace('srgb').removeAlpha();
    return await picture.raw({depth: 'uchar'}).toBuffer();
  } catch (error) {
    return (error as Error).message;
  }
}

// First 16 digits of the SHA-256 of what Pillow 12.3.0 makes of them. 67 x 45 pixels, so that every kind of sampling has
// a block that is not full. libjpeg-turbo's cjpeg wrote them.
const golden = {
  '444.jpg': '26aad568d666043e',
  '440.jpg': '8ff0c6b4d9ccf86e',
  '422.jpg': '8de12dbeaac29a96',
  '420.jpg': '507bbab048f09af7',
  '411.jpg': '30494341c02ea119',
  '410.jpg': '05f7b1e8fa2c70bc',
  '3x1.jpg': '19afde2b3a636c73',
  'grey.jpg': 'ca55260aa9dcef6f',
  'rgb.jpg': '3f895a71eb8a6cbd',
  'restarts.jpg': '507bbab048f09af7',
  'progressive.jpg': '507bbab048f09af7',
  'progressive-422-restarts.jpg': '8de12dbeaac29a96',
};

testWithJpeg(
  'every chroma sampling, grey, RGB, progressive and restarted JPEGs: the pixels of Pillow and of sharp',
  async t => {
    for (const [name, hash] of Object.entries(golden)) {
      const bytes = await readFile(jpeg(name));
      const decoded = await native().decodeJpeg(bytes, false, mostImageBytes);
      t.deepEqual([decoded?.width, decoded?.height], [67, 45], name);
      t.is(sha256(decoded!.data).slice(0, 16), hash, name);
      t.deepEqual(await bySharp(bytes), Buffer.from(decoded!.data), name);
    }
    for (const [name, {rgbSha256}] of Object.entries(expected.photos)) {
      t.is(sha256((await native().decodeJpeg(photo(name), false, mostImageBytes))!.data), rgbSha256, name);
    }
  },
);

testWithJpeg(
  'whatever is damaged is either decoded to the same pixels as by sharp, or left to it',
  async t => {
    const random = new Random('damaged');
    let decoded = 0;
    let left = 0;
    for (const name of Object.keys(golden)) {
      const whole = await readFile(jpeg(name));
      for (let i = 0; i < 60; i++) {
        const bytes = Buffer.from(
          i % 3 === 0 ? whole.subarray(0, Math.floor(random.next() * whole.length)) : whole,
        );
        for (let flips = i % 3; flips > 0; flips--)
          bytes[Math.floor(random.next() * bytes.length)] = random.next() * 256;
        const ours = await native().decodeJpeg(bytes, true, mostImageBytes);
        if (ours) {
          decoded++;
          t.deepEqual(await bySharp(bytes), Buffer.from(ours.data), `${name} ${i}`);
        } else {
          left++;
        }
      }
    }
    t.true(decoded > 20 && left > 200, `${decoded} decoded, ${left} left to sharp`);
  },
);

// In turn with the others: where two images fail at once, libvips mixes up their messages.
testWithJpeg.serial('a JPEG that is cut anywhere is refused with the words of sharp', async t => {
  const whole = await readFile(jpeg('420.jpg'));
  for (let length = 3; length < whole.length - 2; length += 61) {
    const cut = whole.subarray(0, length);
    const reason = (await bySharp(cut)) as string;
    const message = `Cannot decode x: ${reason.split('\n')[0]}.`;
    await t.throwsAsync(decodeImage(cut, 'x'), {code: 'ERR_IMAGE_DECODE', message});
  }
});

// In turn, since it counts the files that the process has open.
testWithJpeg.serial(
  'prepared straight from the file: the pixels of decoding, then resizing and cropping',
  async t => {
    const openFiles = async (): Promise<number> => (await readdir('/dev/fd')).length;
    const before = await openFiles();
    for (const [name, {crops}] of Object.entries(expected.photos)) {
      for (const {rgbSha256, ...geometry} of crops) {
        const size = geometry.crop ** 2 * 3;
        const out = new Uint8Array(size + 2).fill(77);
        t.true(await native().prepareJpeg(photo(name), false, geometry, out, 1, mostImageBytes));
        t.is(sha256(out.subarray(1, -1)), rgbSha256, `${name} ${JSON.stringify(geometry)}`);
        t.deepEqual([out[0], out.at(-1)], [77, 77]);
      }
    }
    t.true((await openFiles()) < before + 3);
  },
);

/** What `prepareJpeg` must make of a JPEG: all of it is decoded, then resized and cropped. */
async function decodedFirst(bytes: Uint8Array, geometry: NativeGeometry): Promise<Uint8Array | null> {
  const whole = await native().decodeJpeg(bytes, false, mostImageBytes);
  if (!whole) return null;
  const out = new Uint8Array(geometry.crop ** 2 * 3);
  await native().resizeCrop(whole.data, whole.width, whole.height, geometry, out, 0);
  return out;
}

async function prepared(bytes: Uint8Array, geometry: NativeGeometry): Promise<Uint8Array | null> {
  const out = new Uint8Array(geometry.crop ** 2 * 3);
  return (await native().prepareJpeg(bytes, false, geometry, out, 0, mostImageBytes)) ? out : null;
}

function randomGeometry(random: Random): NativeGeometry {
  return {
    resize: random.pick([0, random.integer(1, 20), random.integer(1, 100)]),
    crop: random.pick([1, random.integer(1, 12), random.integer(1, 70)]),
    interpolation: random.pick(['bilinear', 'bicubic'] as const),
  };
}

// What lies outside of the crop is not decoded: its edges are not to be taken for those of the image.
testWithJpeg('any crop of any JPEG: the pixels of decoding all of it first', async t => {
  const random = new Random('crops');
  const images = new Map<string, Buffer>();
  for (const name of Object.keys(golden)) images.set(name, await readFile(jpeg(name)));
  // Without its last scans, which is no damage: what they would say is guessed from the blocks around.
  const progressive = images.get('progressive.jpg')!;
  const startOfScan = Buffer.from([0xff, 0xda]);
  for (
    let end = progressive.indexOf(startOfScan, progressive.indexOf(startOfScan) + 1);
    end >= 0;
    end = progressive.indexOf(startOfScan, end + 1)
  ) {
    const endOfImage = Buffer.from([0xff, 0xd9]);
    images.set(`${end} bytes`, Buffer.concat([progressive.subarray(0, end), endOfImage]));
  }
  for (let i = 0; i < 120; i++) {
    const [width, height] = [random.integer(1, 64), random.integer(1, 64)];
    const chromaSubsampling = random.pick(['4:4:4', '4:2:0']);
    const data = Uint8Array.from({length: width * height * 3}, () => random.next() * 256);
    const picture = sharp(data, {raw: {width, height, channels: 3}});
    const bytes = await picture.jpeg({chromaSubsampling, progressive: i % 3 === 0}).toBuffer();
    images.set(`${width} x ${height}, ${chromaSubsampling}`, bytes);
  }
  for (const [name, bytes] of images) {
    for (let i = 0; i < 12; i++) {
      const geometry = randomGeometry(random);
      const message = `${name} ${JSON.stringify(geometry)}`;
      t.deepEqual(await prepared(bytes, geometry), await decodedFirst(bytes, geometry), message);
    }
  }
});

testWithJpeg('damage is noticed wherever it is, also where nothing of the crop is', async t => {
  const random = new Random('damage outside');
  const verdicts = {left: 0, decoded: 0};
  for (const name of Object.keys(golden)) {
    const whole = await readFile(jpeg(name));
    for (let i = 0; i < 40; i++) {
      const bytes = Buffer.from(whole);
      for (let flips = i % 3; flips >= 0; flips--)
        bytes[Math.floor(random.next() * bytes.length)] = random.next() * 256;
      const geometry = {resize: 0, crop: random.integer(1, 30), interpolation: 'bilinear'} as const;
      const ours = await prepared(bytes, geometry);
      t.deepEqual(ours, await decodedFirst(bytes, geometry), `${name} ${i}`);
      verdicts[ours ? 'decoded' : 'left']++;
    }
  }
  t.true(verdicts.left > 100 && verdicts.decoded > 50, JSON.stringify(verdicts));
});

testWithJpeg('CMYK, no JPEG, nothing and what is no file are not for this decoder', async t => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'two.jpg'), Buffer.from([0xff, 0xd8]));
  await symlink('loop.jpg', join(folder, 'loop.jpg'));
  const paths = [image('cmyk.jpg'), image('rgba.png'), image('empty.jpg'), folder, '/dev/zero', ''];
  for (const path of [...paths, join(folder, 'two.jpg'), join(folder, 'loop.jpg'), `${photos[0]}\0.png`]) {
    t.is(await native().decodeJpeg(path, false, mostImageBytes), null, path);
  }
  t.is(await native().decodeJpeg(new Uint8Array(0), false, mostImageBytes), null);
  // A terabyte, of which three bytes are on the disk.
  const sparse = join(folder, 'sparse.jpg');
  await writeFile(sparse, Buffer.from([0xff, 0xd8, 0xff]));
  await truncate(sparse, 2 ** 40);
  t.is(await native().decodeJpeg(sparse, false, mostImageBytes), null);
  const {length} = await readFile(photos[0]!);
  t.is(await native().decodeJpeg(photos[0]!, false, length - 1), null);
  t.not(await native().decodeJpeg(photos[0]!, false, length), null);
});

testWithJpeg('an EXIF orientation is ignored, or applied where it is asked for', async t => {
  const pixels = (await decodeImage(image('rgba.png'), 'x')).data.slice(0, 12);
  const upright = sharp(pixels, {raw: {width: 2, height: 2, channels: 3}}).resize(24, 16, {
    kernel: 'nearest',
    fit: 'fill',
  });
  for (let orientation = 1; orientation <= 8; orientation++) {
    for (const format of ['jpeg', 'png'] as const) {
      const bytes = await upright.clone().withMetadata({orientation}).toFormat(format).toBuffer();
      const ignored = await decodeImage(bytes, 'x');
      const applied = await decodeImage(bytes, 'x', {autoOrient: true});
      t.deepEqual([ignored.width, ignored.height], [24, 16]);
      t.deepEqual([applied.width, applied.height], orientation > 4 ? [16, 24] : [24, 16]);
      const turned = await sharp(bytes).autoOrient().removeAlpha().raw().toBuffer();
      t.deepEqual(Buffer.from(applied.data), turned, `${format} ${orientation}`);
      t.is(Buffer.from(ignored.data).equals(turned), orientation === 1, `${format} ${orientation}`);
    }
  }
  const {crop} = {crop: 16};
  const preprocessing: Preprocessing = {
    ...{resize: 0, crop, interpolation: 'bilinear', squash: false, autoOrient: true},
    ...{mean: [0, 0, 0], std: [1, 1, 1]},
  };
  const out = [new Uint8Array(crop * crop * 3), new Uint8Array(crop * crop * 3)] as const;
  await prepareImage(image('exif6.jpg'), 'x', preprocessing, out[0], 0);
  await prepareImage(image('exif6.jpg'), 'x', {...preprocessing, autoOrient: false}, out[1], 0);
  t.notDeepEqual(out[0], out[1]);
});

testWithJpeg('an orientation that points outside of its EXIF block is none', async t => {
  const bytes = await sharp(jpeg('420.jpg')).withMetadata({orientation: 6}).toBuffer();
  const exif = bytes.indexOf('Exif\0\0') + 6;
  const length = bytes.readUInt16BE(exif - 8);
  const random = new Random('orientation');
  for (let i = 0; i < 200; i++) {
    const damaged = Buffer.from(bytes);
    for (let flips = 0; flips < 4; flips++)
      damaged[exif + Math.floor(random.next() * Math.min(40, length))] = random.next() * 256;
    await t.notThrowsAsync(native().decodeJpeg(damaged, true, mostImageBytes));
  }
});

testWithJpeg('an EXIF block that ends within its only entry has no orientation', async t => {
  const bytes = await readFile(jpeg('420.jpg'));
  // The directory is at 0, over the header: its entry begins at 2 with the tag, and its value, 6, is at 10, which is all.
  const exif = Buffer.from('Exif\0\0I\x01\x12\x01\0\0\0\0\0\0\x06', 'latin1');
  const marker = Buffer.from([0xff, 0xe1, 0, exif.length + 2]);
  const cut = Buffer.concat([bytes.subarray(0, 2), marker, exif, bytes.subarray(2)]);
  t.deepEqual(
    await native().decodeJpeg(cut, true, mostImageBytes),
    await native().decodeJpeg(bytes, true, mostImageBytes),
  );
});

// In turn, since it looks at the memory of the process.
testWithJpeg.serial(
  'a JPEG of 65500 x 65500 pixels, and a PNG of 50000 x 50000, are refused before memory is taken',
  async t => {
    const bomb = await readFile(jpeg('420.jpg'));
    const frame = bomb.indexOf(Buffer.from([0xff, 0xc0]));
    bomb.writeUInt16BE(65500, frame + 5);
    bomb.writeUInt16BE(65500, frame + 7);
    const png = await sharp({create: {width: 1, height: 1, channels: 3, background: 'red'}})
      .png()
      .toBuffer();
    png.writeUInt32BE(50_000, 16);
    png.writeUInt32BE(50_000, 20);
    png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
    const before = process.memoryUsage.rss();
    for (const bytes of [bomb, png]) {
      await t.throwsAsync(decodeImage(bytes, 'x'), {code: 'ERR_IMAGE_TOO_LARGE', message: /268 megapixels/});
    }
    t.true(process.memoryUsage.rss() - before < 100e6);
  },
);

testWithJpeg('bytes may be changed or transferred as soon as the call is made', async t => {
  const bytes = new Uint8Array(await readFile(photos[0]!));
  const whole = await native().decodeJpeg(bytes, false, mostImageBytes);
  const copies = Array.from({length: 16}, () => bytes.slice());
  const running = copies.map(copy => native().decodeJpeg(copy, false, mostImageBytes));
  for (const [i, copy] of copies.entries()) {
    if (i % 2 === 0) copy.fill(0);
    else structuredClone(copy, {transfer: [copy.buffer]});
  }
  for (const decoded of await Promise.all(running)) t.is(sha256(decoded!.data), sha256(whole!.data));
});

/** ISO 3309, as PNG has it. */
function crc32(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
