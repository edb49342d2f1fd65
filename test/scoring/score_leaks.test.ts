import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';

const script = fileURLToPath(new URL('score_leaks.mts', import.meta.url));

/** What ends the run, where it is not rows that say it. */
const errors: Record<string, RegExp> = {
  'Parquet cut short': /^ERR_SOURCE$/,
  'consumer that throws': /^no use$/,
  'abort in mid-batch': /^20$/, // Of DOMException: ABORT_ERR.
  'dispose in mid-stream': /^ERR_DISPOSED$/,
  'model lost': /^ERR_DEVICE_LOST$/,
  'output of another run': /^ERR_FILE_WRITE$/,
  'disk full': /^ERR_FILE_WRITE$/,
};

/** What the rows say of images. */
const rows: Record<string, string> = {
  truncated: 'ERR_IMAGE_DECODE',
  empty: 'ERR_IMAGE_DECODE',
  huge: 'ERR_IMAGE_TOO_LARGE',
  'CMYK, 16 bits, EXIF': 'ok',
  'animated, wrong extension': 'ok',
  'missing file': 'ERR_FILE_NOT_FOUND,ERR_FILE_READ',
  'permission denied': 'ERR_FILE_READ',
};

test('memory, files and handles return to where they were after every fault of batch scoring', async t => {
  t.timeout(300_000);
  const node = [process.execPath, '--import=tsx', '--expose-gc', '--max-semi-space-size=2', script];
  // A limit on the size of files stands for a full disk: both fail in the middle of a write.
  const limited = ['-c', 'ulimit -f 64; exec "$@"', 'bash', ...node];
  // One heap for all threads, that keeps nothing back: else what is free in many heaps looks like growth.
  const env = {...process.env, MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '100000'};
  const {stdout} = await promisify(execFile)('bash', limited, {env});
  const faults = Object.entries(
    JSON.parse(stdout) as Record<
      string,
      {mebibytes: number; files: number; resources: number; errors: string[]; codes: string[]}
    >,
  );
  t.is(faults.length, 17);
  for (const [name, more] of faults) {
    t.log(`${name}: ${more.mebibytes.toFixed(1)} MiB for 8 times more`);
    t.regex(more.errors.join(), errors[name] ?? /^$/, name);
    t.is(more.codes.join(), rows[name] ?? '', name);
    t.true(
      more.files <= 0 && more.resources <= 0,
      `${name}: ${more.files} files, ${more.resources} resources`,
    );
    // The pixels of one batch each time would be 10 MiB.
    t.true(more.mebibytes < 6, `${name}: ${more.mebibytes.toFixed(1)} MiB`);
  }
});
