import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';

const script = fileURLToPath(new URL('score_memory.mts', import.meta.url));

test('memory does not grow with the source: 60,000 records, the last half of them in what the first needed', async t => {
  t.timeout(110_000);
  // A heap that is small, so that garbage does not look like growth.
  const args = ['--import=tsx', '--max-semi-space-size=2', '--max-old-space-size=128', script, '60000'];
  const {stdout} = await promisify(execFile)(process.execPath, args);
  const {ok, failed, mebibytes} = JSON.parse(stdout) as {ok: number; failed: number; mebibytes: number[]};
  t.deepEqual({ok, failed}, {ok: 60_000, failed: 0});
  t.log(`MiB after each tenth: ${mebibytes.map(value => value.toFixed(0)).join(', ')}`);
  const mean = (values: number[]): number => values.reduce((a, b) => a + b) / values.length;
  const growth = mean(mebibytes.slice(7)) - mean(mebibytes.slice(3, 6));
  // 4 tenths are 24,000 records: to keep the 64 bytes of each with its object and row would be 24 MiB.
  t.true(growth < 8, `it grew by ${growth.toFixed(1)} MiB`);
});
