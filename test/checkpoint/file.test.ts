import {randomBytes} from 'node:crypto';
import {copyFile, readFile, rename, truncate, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {CheckpointFile} from '../../ts/checkpoint/file.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {openRegularFile} from '../../ts/support/files.ts';
import {networkFromCheckpoint} from '../checkpoints.ts';
import {temporaryFolder} from '../folder.ts';

const pageBytes = 2 ** 16;

test('small ranges are read as they are, wherever they lie, in whatever order', async t => {
  const bytes = randomBytes(11 * pageBytes + 100);
  const path = join(await temporaryFolder(t), 'file');
  await writeFile(path, bytes);
  const file = await CheckpointFile.open(path);
  t.teardown(() => file.close());
  const starts = [
    0,
    1,
    pageBytes - 7,
    5 * pageBytes,
    10 * pageBytes - 1,
    bytes.length - 20_000,
    3 * pageBytes - 1,
  ];
  const lengths = [0, 1, 8, 20_000, pageBytes / 2, pageBytes / 2 + 1, 3 * pageBytes];
  for (const length of [...lengths, ...lengths]) {
    const ranges = starts.filter(start => start + length <= bytes.length);
    const read = await Promise.all(ranges.map(start => file.read(start, length, 'a range')));
    for (const [i, start] of ranges.entries()) {
      t.true(read[i]!.equals(bytes.subarray(start, start + length)), `${length} bytes from ${start} on`);
    }
  }
});

test('what another process has cut off meanwhile is an error, for as long as it is missing', async t => {
  const path = join(await temporaryFolder(t), 'file');
  await writeFile(path, randomBytes(3 * pageBytes));
  const file = await CheckpointFile.open(path);
  t.teardown(() => file.close());
  await truncate(path, pageBytes + 10);
  t.is((await file.read(pageBytes - 10, 10, 'its first page')).length, 10);
  for (const length of [10, pageBytes]) {
    await t.throwsAsync(file.read(2 * pageBytes, length, 'its last page'), {
      code: 'ERR_CHECKPOINT_TRUNCATED',
      message: /the file ends at byte \d+, before the end of its last page at \d+, so/,
    });
  }
  await truncate(path, 3 * pageBytes);
  t.deepEqual(await file.read(2 * pageBytes, 10, 'its last page'), Buffer.alloc(10));
});

test('a file that is replaced while it is opened has the size of one of the two', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  await writeFile(path, 'a file');
  let isDone = false;
  const replace = async (): Promise<void> => {
    for (let i = 0; !isDone; i++) {
      await writeFile(`${path}.new`, 'a file'.repeat(1 + (i % 2)));
      await rename(`${path}.new`, path);
    }
  };
  const open = async (): Promise<void> => {
    for (let i = 0; i < 500; i++) {
      await using file = await openRegularFile(path);
      t.is((await file.handle.readFile()).length, file.size);
    }
    isDone = true;
  };
  await Promise.all([replace(), open()]);
});

test('a file that somebody writes to while it is read is not taken for one network', async t => {
  const path = join(await temporaryFolder(t), 'train.safetensors');
  await copyFile(join(import.meta.dirname, '../fixtures/checkpoints/narrow.official.safetensors'), path);
  await using checkpoint = await openCheckpoint(path);
  const read = async (): Promise<number> => {
    let count = 0;
    for await (const _ of networkFromCheckpoint(checkpoint).blocks('deploy')) count++;
    return count;
  };
  t.true((await read()) > 0);
  await writeFile(path, await readFile(path));
  await t.throwsAsync(read, {code: 'ERR_FILE_READ', message: /the file was modified while it was read/});
});
