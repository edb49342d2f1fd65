import {randomBytes} from 'node:crypto';
import {truncate, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {CheckpointFile} from '../../ts/checkpoint/file.ts';
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
      message: /but its last page ends at/,
    });
  }
  await truncate(path, 3 * pageBytes);
  t.deepEqual(await file.read(2 * pageBytes, 10, 'its last page'), Buffer.alloc(10));
});
