import {statSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {makeFolder} from '../../ts/support/make_folder.ts';
import {repvgg} from '../cli/run.ts';
import {temporaryFolder} from '../folder.ts';
import {testOnLinux} from '../where.ts';

test('a folder is made with those above it, and left as it is where it is there', async t => {
  const folder = await temporaryFolder(t);
  const wanted = join(folder, 'a/b/c');
  makeFolder(wanted);
  t.true(statSync(wanted).isDirectory());
  writeFileSync(join(wanted, 'kept'), '');
  makeFolder(wanted);
  t.true(statSync(join(wanted, 'kept')).isFile());
  makeFolder('/');
});

test('what is in the way of a folder is an error', async t => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  t.throws(() => makeFolder(file), {code: 'EEXIST'});
  t.throws(() => makeFolder(join(file, 'a/b')), {code: 'ENOTDIR'});
  const dangling = join(folder, 'dangling');
  symlinkSync(join(folder, 'missing'), dangling);
  t.throws(() => makeFolder(join(dangling, 'a')), {code: 'EEXIST'});
});

// Under /proc Node's own recursive mkdir never returns, which only another process survives.
testOnLinux('a home folder that takes no cache does not keep the addon from loading', async t => {
  const env = {HOME: '/proc', XDG_CACHE_HOME: '', REPVGG_CACHE_DIR: ''};
  const image = fileURLToPath(new URL('../../assets/digits/images/0003-3.png', import.meta.url));
  const args = ['classify', '--checkpoint', 'digits', '--top-k', '1', image];
  const {code, stdout, stderr} = await repvgg(args, {env, timeout: 40_000});
  t.is(code, 0, stderr);
  t.regex(stdout, /: 3 /);
});

testOnLinux('a folder of results that cannot be made is an error at once', async t => {
  const args = ['bench', '--models', 'A0', '--seconds', '1', '--output', '/proc/repvgg/out'];
  const {code, stderr} = await repvgg(args, {timeout: 40_000});
  t.not(code, null, 'it was stopped');
  t.regex(stderr, /\/proc\/repvgg\/out/);
});
