import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import test from 'ava';

test('docs/performance.md has the predictions that the script makes', async t => {
  await t.notThrowsAsync(promisify(execFile)(process.execPath, ['scripts/predict-gpus.mjs', '--check']));
});
