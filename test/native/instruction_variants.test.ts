import {execFileSync} from 'node:child_process';
import {join} from 'node:path';
import test from 'ava';
import {temporaryFolder} from '../folder.ts';

const root = join(import.meta.dirname, '../..');

test('portable and vectorised code give the same pixels and checksums', async t => {
  const program = join(await temporaryFolder(t), 'instruction_variants');
  const sources = ['crc32', 'resample', 'resample_axis', 'resample_kernels'].map(name => `engine/${name}.cc`);
  const args = ['-std=c++20', '-O1', '-I.', ...sources, 'test/native/instruction_variants.cc', '-o', program];
  execFileSync(process.env.CXX ?? 'c++', args, {cwd: root});
  t.is(execFileSync(program, {encoding: 'utf8'}), '');
});
