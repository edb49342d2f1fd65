import {execFileSync} from 'node:child_process';
import {join} from 'node:path';
import test from 'ava';
import {temporaryFolder} from '../folder.ts';

const root = join(import.meta.dirname, '../..');

test('only memory and threads that the system refuses are ERR_OUT_OF_MEMORY', async t => {
  const program = join(await temporaryFolder(t), 'coded_error');
  const sources = ['binding/coded_error.cc', 'test/native/coded_error.cc'];
  execFileSync(process.env.CXX ?? 'c++', ['-std=c++20', '-I.', ...sources, '-o', program], {cwd: root});
  t.deepEqual(execFileSync(program, {encoding: 'utf8'}).trimEnd().split('\n'), [
    'ERR_DEVICE_LOST It is gone.',
    'ERR_OUT_OF_MEMORY Not enough memory.',
    'ERR_OUT_OF_MEMORY Not enough memory.',
    'ERR_OUT_OF_MEMORY The system refused a resource: what: Resource temporarily unavailable.',
    'ERR_OUT_OF_MEMORY The system refused a resource: what: Cannot allocate memory.',
    'ERR_INTERNAL Unexpected error of the engine: what: Permission denied.',
    'ERR_INTERNAL Unexpected error of the engine: vector.',
    'ERR_INTERNAL Unexpected error of the engine: oops.',
  ]);
});
