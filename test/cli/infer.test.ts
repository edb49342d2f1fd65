import {once} from 'node:events';
import {readdirSync} from 'node:fs';
import {copyFile, mkdir, readdir, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import {digits} from '../../ts/digits.ts';
import {image} from '../fixtures.ts';
import {repvgg, start, temporaryFolder} from './run.ts';

const [first] = readdirSync(digits.images).sort();

test("MindSpore's format: the class number of each path, for images of every format in a folder", async t => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'in'));
  const png = join(digits.images, first!);
  for (const format of ['png', 'webp', 'tiff', 'avif'] as const)
    await sharp(png)
      .toColourspace('srgb')
      .toFormat(format, {lossless: true})
      .toFile(join(folder, 'in', `a.${format}`));
  const {code, stdout, stderr} = await repvgg(['infer', 'in', '-c', 'digits', '--output', 'out.json'], {
    cwd: folder,
  });
  t.like({code, stderr}, {code: 0, stderr: ''});
  const label = Number(first!.slice(5, 6));
  const paths = ['in/a.avif', 'in/a.png', 'in/a.tiff', 'in/a.webp'];
  t.is(stdout, paths.map(path => `${path} (class: ${label})\n`).join(''));
  // Laid out as json.dump(..., indent=1) does.
  t.is(
    await readFile(join(folder, 'out.json'), 'utf8'),
    `{\n${paths.map(path => ` "${path}": ${label}`).join(',\n')}\n}`,
  );
});

test('--rows: what classify --json prints, with the errors', async t => {
  const folder = await temporaryFolder(t);
  // Not a URL.
  await copyFile(join(digits.images, first!), join(folder, 'a:1.png'));
  await copyFile(image('truncated.jpg'), join(folder, 'b.jpg'));
  const args = ['infer', 'a:1.png', 'b.jpg', 'c.jpg', '-c', 'digits'];
  const {code, stderr, stdout} = await repvgg([...args, '--rows', '-k', '2', '--json'], {cwd: folder});
  t.is(code, 1);
  t.deepEqual(JSON.parse(stdout), {output: 'predictions.json', images: 3, failed: 2});
  t.regex(stderr, /^repvgg: b\.jpg: .*\(ERR_IMAGE_DECODE\)\nrepvgg: c\.jpg: .*\(ERR_FILE_NOT_FOUND\)\n$/);
  const classified = await repvgg(['classify', ...args.slice(1), '-k', '2', '--json'], {cwd: folder});
  const rows = JSON.parse(await readFile(join(folder, 'predictions.json'), 'utf8'));
  t.deepEqual(
    rows,
    classified.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line)),
  );
  t.is(await readFile(join(folder, 'predictions.json'), 'utf8'), JSON.stringify(rows, null, 1));
  t.is((await repvgg(args, {cwd: folder})).code, 1);
  t.deepEqual(Object.keys(JSON.parse(await readFile(join(folder, 'predictions.json'), 'utf8'))), ['a:1.png']);
});

test('the map has the paths in the order of the command line, and none of them if all failed', async t => {
  const folder = await temporaryFolder(t);
  for (const name of ['10', '9']) await copyFile(join(digits.images, first!), join(folder, name));
  await repvgg(['infer', '10', '9', '-c', 'digits'], {cwd: folder});
  const label = first!.slice(5, 6);
  const written = (): Promise<string> => readFile(join(folder, 'predictions.json'), 'utf8');
  t.is(await written(), `{\n "10": ${label},\n "9": ${label}\n}`);
  await repvgg(['infer', 'none.png', '-c', 'digits'], {cwd: folder});
  t.is(await written(), '{}');
});

test('classify takes folders too', async t => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'sub'));
  await copyFile(join(digits.images, first!), join(folder, 'sub', 'a.png'));
  const {code, stdout} = await repvgg([
    'classify',
    folder,
    join(digits.images, first!),
    '-c',
    'digits',
    '-k',
    '1',
  ]);
  t.is(code, 0);
  t.deepEqual(
    stdout
      .trim()
      .split('\n')
      .map(line => line.slice(0, line.lastIndexOf(':'))),
    [join(folder, 'sub', 'a.png'), join(digits.images, first!)],
  );
});

test('--top-k is of the rows: alone it is a usage error', async t => {
  const folder = await temporaryFolder(t);
  const path = join(digits.images, first!);
  const alone = await repvgg(['infer', path, '-c', 'digits', '-k', '2'], {cwd: folder});
  t.like(alone, {code: 2, stdout: ''});
  t.regex(alone.stderr, /'-k, --top-k <k>' needs '--rows'/);
  t.deepEqual(await readdir(folder), []);
  t.is((await repvgg(['infer', path, '-c', 'digits', '-k', '2', '--rows'], {cwd: folder})).code, 0);
  const [row] = JSON.parse(await readFile(join(folder, 'predictions.json'), 'utf8'));
  t.is(row.topK.length, 2);
});

test('whoever does not read the failures to their end loses no result', async t => {
  const folder = await temporaryFolder(t);
  const names = Array.from({length: 1000}, (_, i) => `no such image ${i}${'.'.repeat(100)}`);
  const child = start(['infer', join(digits.images, first!), ...names, '-c', 'digits'], {cwd: folder});
  child.stdout!.resume();
  child.stderr!.once('data', () => child.stderr!.destroy());
  const [code] = await once(child, 'exit');
  t.is(code, 1);
  const written = JSON.parse(await readFile(join(folder, 'predictions.json'), 'utf8'));
  t.deepEqual(Object.keys(written), [join(digits.images, first!)]);
});

test('an image that comes twice has not failed, and "__proto__" is a name like any other', async t => {
  const folder = await temporaryFolder(t);
  await copyFile(join(digits.images, first!), join(folder, '__proto__'));
  const {code, stdout} = await repvgg(['infer', '__proto__', '__proto__', '-c', 'digits', '--json'], {
    cwd: folder,
  });
  t.is(code, 0);
  t.deepEqual(JSON.parse(stdout), {output: 'predictions.json', images: 2, failed: 0});
  t.regex(await readFile(join(folder, 'predictions.json'), 'utf8'), /^\{\n "__proto__": \d\n\}$/);
});

test('a folder without images is a row that failed, and the others are kept', async t => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'empty'));
  await copyFile(join(digits.images, first!), join(folder, 'a.png'));
  const {code, stderr} = await repvgg(['infer', 'empty', 'a.png', '-c', 'digits'], {cwd: folder});
  t.is(code, 1);
  t.regex(stderr, /^repvgg: empty: .*there are no images in it\. \(ERR_SOURCE\)\n$/);
  t.deepEqual(Object.keys(JSON.parse(await readFile(join(folder, 'predictions.json'), 'utf8'))), ['a.png']);
});

test('where the file cannot be written is said before any image is run, and no image is overwritten', async t => {
  const folder = await temporaryFolder(t);
  await copyFile(join(digits.images, first!), join(folder, 'a.png'));
  const infer = (output: string) => repvgg(['infer', 'a.png', '-c', 'digits', '-o', output], {cwd: folder});
  const nowhere = await infer('nowhere/a.json');
  t.like(nowhere, {code: 3, stdout: ''});
  t.regex(nowhere.stderr, /there is no folder nowhere\. \(ERR_FILE_WRITE\)$/m);
  const itself = await infer('a.png');
  t.like(itself, {code: 2, stdout: ''});
  t.regex(itself.stderr, /Expected a file that ends in \.json\./);
  t.deepEqual(await readFile(join(folder, 'a.png')), await readFile(join(digits.images, first!)));
});
