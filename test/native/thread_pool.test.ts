import {execFileSync} from 'node:child_process';
import {join} from 'node:path';
import test from 'ava';
import {temporaryFolder} from '../folder.ts';

const root = join(import.meta.dirname, '../..');

test('what a thread of a pool throws comes to the caller once all are done', async t => {
  const program = join(await temporaryFolder(t), 'thread_pool_errors');
  const sources = ['cpu/thread_pool.cc', 'test/native/thread_pool_errors.cc'];
  execFileSync(process.env.CXX ?? 'c++', ['-std=c++20', '-pthread', '-I.', ...sources, '-o', program], {
    cwd: root,
  });
  t.is(execFileSync(program, {encoding: 'utf8'}), '');
});
