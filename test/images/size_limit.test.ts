/** An encoded image has at most 512 MiB, wherever it comes from, and one that has more is refused before it is read. */
import {once} from 'node:events';
import {truncate, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import test from 'ava';
import {digits} from '../../ts/digits.ts';
import {mostImageBytes} from '../../ts/images/encoded_image.ts';
import {decodeImage, prepareImage} from '../../ts/images/images.ts';
import {openSource} from '../../ts/sources/source.ts';
import {temporaryFolder} from '../folder.ts';

const signatures = {
  jpeg: Buffer.from('ffd8ff', 'hex'),
  png: Buffer.from('89504e470d0a1a0a', 'hex'),
};
const code = 'ERR_IMAGE_TOO_LARGE';

for (const [format, signature] of Object.entries(signatures)) {
  test(`a ${format} file, and one in memory`, async t => {
    const path = join(await temporaryFolder(t), 'a');
    await writeFile(path, signature);
    const message = 'Cannot decode a.png: the image has more than 512 MiB.';
    for (const bytes of [mostImageBytes + 1, 2 ** 40]) {
      await truncate(path, bytes); // Takes no room on the disk.
      await t.throwsAsync(decodeImage(path, 'a.png'), {code, message});
      const out = new Uint8Array(32 * 32 * 3);
      await t.throwsAsync(prepareImage(path, 'a.png', digits.preprocessing, out, 0), {code, message});
    }
    // Nothing of it is in memory but its first page.
    const bytes = new Uint8Array(mostImageBytes + 1);
    bytes.set(signature);
    await t.throwsAsync(decodeImage(bytes, 'a.png'), {code, message});
  });
}

test('at a URL, whether its server says so or sends it', async t => {
  const part = Buffer.alloc(2 ** 20);
  const server = createServer((request, response) => {
    if (request.url === '/said') response.writeHead(200, {'content-length': 2 ** 40}).write('x');
    else response.writeHead(200);
    const send = (): void => {
      while (request.url === '/sent' && response.write(part));
    };
    response.on('drain', send);
    send();
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const path of ['/said', '/sent']) {
    const url = new URL(`${origin}${path}`);
    const message = `Cannot fetch ${url}: the image has more than 512 MiB.`;
    await t.throwsAsync(decodeImage(url, 'a.png'), {code, message});
  }
});

test('in a tar, where it is an error of its own row', async t => {
  const path = join(await temporaryFolder(t), 'a.tar');
  const header = Buffer.alloc(512);
  header.write('a.jpg');
  header.write('0000644\0', 100);
  header.write((mostImageBytes + 1).toString(8).padStart(11, '0'), 124);
  header.write('0ustar\0', 156);
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, '0'), 148);
  await writeFile(path, header);
  const first = await openSource(path)[Symbol.asyncIterator]().next();
  t.like(first.value, {
    id: `${path}/a.jpg`,
    error: {code, message: `Cannot read ${path}/a.jpg: the image has more than 512 MiB.`},
  });
});
