import {once} from 'node:events';
import {createReadStream, readdirSync} from 'node:fs';
import {copyFile, readFile, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import test from 'ava';
import {digits} from '../../ts/digits.ts';
import {checkpoint, expected, image, photos} from '../fixtures.ts';
import {finish, jsonLines, repvgg, start, temporaryFolder} from './run.ts';

const name = 'narrow.official.zip.pth';
/** The preprocessing that the expected logits were made with. */
const model = ['classify', '--checkpoint', checkpoint(name), '--resize', '64', '--crop', '56'];

/** Class numbers from the likeliest on, with their probabilities, from PyTorch's logits of a photograph. */
function expectedTopK(photoIndex: number): {index: number; label: string; score: number}[] {
  const logits = expected.checkpoints[name]!.logits![photoIndex]!;
  const exponentials = logits.map(Math.exp);
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials
    .map((value, index) => ({index, label: String(index), score: value / sum}))
    .sort((a, b) => b.score - a.score);
}

test('--json: a line an image, in order, with an error in the place of an unreadable one; exit code 1', async t => {
  const missing = 'no such.jpg';
  const ids = [photos[0]!, missing, photos[1]!, image('truncated.jpg'), photos[2]!, photos[3]!];
  const output = await repvgg([...model, '--json', '--top-k', '3', '--batch-size', '4', ...ids]);
  t.is(output.code, 1);
  t.is(output.stderr, '');
  const rows = jsonLines<{id: string; topK?: {index: number; label: string; score: number}[]}>(output);
  t.deepEqual(
    rows.map(({id}) => id),
    ids,
  );
  t.deepEqual(rows[1] as object, {
    id: missing,
    error: {code: 'ERR_FILE_NOT_FOUND', message: 'Cannot read image no such.jpg: no such file.'},
  });
  t.like(rows[3], {id: image('truncated.jpg'), error: {code: 'ERR_IMAGE_DECODE'}});
  for (const [photoIndex, row] of [rows[0]!, rows[2]!, rows[4]!, rows[5]!].entries()) {
    t.deepEqual(Object.keys(row), ['id', 'topK']);
    t.is(row.topK!.length, 3);
    for (const [k, {score, ...rest}] of expectedTopK(photoIndex).slice(0, 3).entries()) {
      const {score: actual, ...actualRest} = row.topK![k]!;
      t.deepEqual(actualRest, rest);
      t.true(Math.abs(actual - score) < 1e-5, `${actual} is not ${score}`);
    }
  }
});

test('without --json: a row an image for people; exit code 0 when all could be read', async t => {
  const output = await repvgg([...model, '--top-k', '2', '--form', 'train', photos[0]!, photos[1]!]);
  const percent = (photoIndex: number): string =>
    expectedTopK(photoIndex)
      .slice(0, 2)
      .map(({label, score}) => `${label} ${(100 * score).toFixed(1)}%`)
      .join(' | ');
  t.deepEqual(output, {
    code: 0,
    stdout: `${photos[0]}: ${percent(0)}\n${photos[1]}: ${percent(1)}\n`,
    stderr: '',
  });
});

test('an image may be a URL', async t => {
  const server = createServer((request, response) => {
    if (request.url === '/a.jpg') createReadStream(photos[0]!).pipe(response);
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const root = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const digit = join(digits.images, '0060-3.png');
  const output = await repvgg([
    ...model,
    '-k',
    '1',
    `${root}/a.jpg`,
    `${root}/b.jpg`,
    photos[0]!,
    's3://b/c.jpg',
    `data:image/png;base64,${(await readFile(digit)).toString('base64')}`,
    digit,
  ]);
  t.is(output.code, 1, output.stderr);
  const [found, missing, same, store, inline, sameDigit] = output.stdout.split('\n');
  t.is(found!.replace(`${root}/a.jpg`, photos[0]!), same!);
  t.regex(missing!, /\/b\.jpg: error: .*404.* \(ERR_IMAGE_FETCH\)$/);
  t.regex(store!, /^s3:.* only URLs of http, https, data and file are read\. \(ERR_IMAGE_FETCH\)$/);
  t.is(inline!.replace('image 5', digit), sameDigit!); // The URL is too long for a name.
});

test('a row stays one line whatever the file is called', async t => {
  const output = await repvgg([...model, 'no\nsuch\x1b[2J.jpg']);
  t.is(output.code, 1);
  t.is(
    output.stdout,
    'no\\nsuch\\u001b[2J.jpg: error: Cannot read image no\\nsuch\\u001b[2J.jpg: no such file. (ERR_FILE_NOT_FOUND)\n',
  );
});

test('a crop beyond the largest is refused by its own name', async t => {
  const {code, stderr} = await repvgg([...model.slice(0, 3), '--crop', '5000', photos[0]!]);
  t.is(code, 2);
  t.regex(stderr, /--crop <pixels>.*from 0 to 4096/);
});

test('--labels names the classes', async t => {
  const folder = await temporaryFolder(t);
  const labels = join(folder, 'labels.json');
  await writeFile(labels, JSON.stringify(Array.from({length: 12}, (_, i) => `class ${i}`)));
  const output = await repvgg([...model, '--labels', labels, '-k', '1', photos[0]!]);
  t.is(output.code, 0);
  t.true(output.stdout.startsWith(`${photos[0]}: class ${expectedTopK(0)[0]!.index} `));
});

test('rows are written as batches finish, not at the end', async t => {
  const folder = await temporaryFolder(t);
  const late = join(folder, 'late.png'); // There only once the first row is.
  const files = readdirSync(digits.images).map(file => join(digits.images, file));
  const images = [...files, ...files, late];
  const child = start(['classify', '-c', 'digits', '--batch-size', '1', '-k', '1', ...images]);
  const done = finish(child);
  await Promise.race([once(child.stdout!, 'data'), once(child.stdout!, 'end')]);
  await copyFile(files[0]!, late);
  const {code, stdout} = await done;
  t.is(code, 0);
  t.is(stdout.trimEnd().split('\n').length, images.length);
});

test('a reader that goes away, as head does, ends it quietly', async t => {
  const files = readdirSync(digits.images).map(file => join(digits.images, file));
  const child = start(['classify', '-c', 'digits', '--batch-size', '1', ...files]);
  const closed = once(child, 'exit');
  const stderr: Buffer[] = [];
  child.stderr!.on('data', (chunk: Buffer) => stderr.push(chunk));
  await once(child.stdout!, 'data');
  child.stdout!.destroy();
  const [code] = await closed;
  t.is(code, 0);
  t.is(Buffer.concat(stderr).toString(), '');
});
