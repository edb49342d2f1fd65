import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';

const script = fileURLToPath(new URL('score_memory.mts', import.meta.url));
/** `npm run test:memory` has a million. */
const rows = Number(process.env.REPVGG_ROWS ?? 60_000);

/** Scores so many records in a process of its own, and returns its memory in MiB after each tenth. */
async function memoryOf(t: ExecutionContext, count: number): Promise<number[]> {
  // A heap that is small, so that garbage does not look like growth.
  const args = ['--import=tsx', '--max-semi-space-size=2', '--max-old-space-size=128', script, `${count}`];
  const {stdout} = await promisify(execFile)(process.execPath, args);
  const {ok, failed, mebibytes} = JSON.parse(stdout) as {ok: number; failed: number; mebibytes: number[]};
  t.deepEqual({ok, failed}, {ok: 0.98 * count, failed: 0.02 * count});
  t.log(`${count} records, MiB after each tenth: ${mebibytes.map(value => value.toFixed(1)).join(', ')}`);
  return mebibytes;
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b) / values.length;

test(`${rows} records need the memory of 1,000, and the last half of them that of the first`, async t => {
  t.timeout(600_000);
  const few = await memoryOf(t, 1000);
  const many = await memoryOf(t, rows);
  const growth = mean(many.slice(7)) - mean(many.slice(3, 6));
  const bytesEach = (growth * 2 ** 20) / (0.4 * rows);
  t.log(`${growth.toFixed(1)} MiB in 4 tenths, ${bytesEach.toFixed(1)} bytes a record`);
  // To keep the 64 bytes of each of 24,000 records, with its object and row, would be 24 MiB.
  t.true(growth < 8, `it grew by ${growth.toFixed(1)} MiB`);
  const more = Math.max(...many) - Math.max(...few);
  t.true(more < 24, `it needed ${more.toFixed(1)} MiB more than 1,000 records`);
});
