/** Writing that fails half-way, by every writer: the old file stays, and nothing else. */
import {execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdir, readdir, readFile, stat, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {append, appendTexts, removeTemporaries, replaceFile} from '../../ts/support/replace_file.ts';
import {temporaryFolder} from '../cli/run.ts';
import {checkpoint} from '../fixtures.ts';
import {testOnLinux} from '../where.ts';

const writers: Record<string, string> = {
  'old.pth': 'convertCheckpoint',
  'old.safetensors': 'convertCheckpoint',
  'old.onnx': 'exportOnnx',
};

// A limit on the size of files stands for a full disk: both fail in the middle of a write.
testOnLinux('a file that cannot be written whole leaves the old one', async t => {
  const folder = await temporaryFolder(t);
  const source = fileURLToPath(new URL('../../ts', import.meta.url));
  for (const [name, writer] of Object.entries(writers)) {
    const path = join(folder, name);
    await writeFile(path, 'before');
    const script = join(folder, `${writer}.mts`);
    await writeFile(
      script,
      `import {convertCheckpoint} from '${source}/convert.ts';
      import {exportOnnx} from '${source}/export.ts';
      await ${writer}(process.argv[2], process.argv[3]).catch(error => console.log(error.code, error.message));`,
    );
    // 16 blocks of 512 or 1024 bytes, as the shell has it; the network takes 58,000 bytes.
    const command = 'ulimit -f 16; exec "$0" --import=tsx "$@"';
    const args = ['-c', command, process.execPath, script, checkpoint('narrow.official.zip.pth'), path];
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const {stdout} = await promisify(execFile)('sh', args, {cwd});
    t.is(
      stdout.trim(),
      `ERR_FILE_WRITE Cannot write ${path}: it would be larger than this process or file system allows.`,
    );
    t.is(await readFile(path, 'utf8'), 'before');
  }
  t.false((await readdir(folder)).some(name => name.endsWith('.tmp')));
});

test('a process that is killed while it writes leaves the old file', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'old.pth');
  await writeFile(path, 'before');
  const script = join(folder, 'write.mts');
  await writeFile(
    script,
    `import {writePyTorch} from '${fileURLToPath(new URL('../../ts/checkpoint/write_pytorch.ts', import.meta.url))}';
    const values = async () => new Float32Array(1e5);
    async function never() {
      console.log('half of it is written');
      await new Promise(resolve => setTimeout(resolve, 1e9));
    }
    const tensor = {shape: [1e5]};
    await writePyTorch(process.argv[2], [{...tensor, name: 'a', values}, {...tensor, name: 'b', values: never}]);`,
  );
  const child = spawn(process.execPath, ['--import=tsx', script, path], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const [temporary] = (await readdir(folder)).filter(name => name.endsWith('.tmp'));
  t.true((await stat(join(folder, temporary!))).size > 4e5);
  child.kill('SIGKILL');
  t.is((await once(child, 'exit'))[1], 'SIGKILL');
  t.is(await readFile(path, 'utf8'), 'before');
});

test('errors of the file system are in words', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'x');
  await writeFile(path, 'before');
  for (const [code, message] of [
    ['ENOSPC', `Cannot write ${path}: the disk is full.`],
    ['ENOTDIR', `Cannot write ${path}: ${folder} is no folder.`],
    ['EROFS', `Cannot write ${path}: the file system is read-only.`],
    ['EDQUOT', `Cannot write ${path}: the quota of this disk is used up.`],
    ['EIO', `Cannot write ${path}: EIO: some words.`],
  ] as const) {
    const fail = async (): Promise<never> => {
      throw Object.assign(new Error(`${code}: some words`), {code});
    };
    await t.throwsAsync(replaceFile(path, fail), {code: 'ERR_FILE_WRITE', message});
  }
  await t.throwsAsync(
    replaceFile('', async () => {}),
    {code: 'ERR_INVALID_ARGUMENT'},
  );
  t.is(await readFile(path, 'utf8'), 'before');
  t.deepEqual(await readdir(folder), ['x']);
});

test('what is appended follows what was written before', async t => {
  const folder = join(await temporaryFolder(t), 'new');
  await mkdir(folder);
  const path = join(folder, 'x');
  await replaceFile(path, async file => {
    for (const part of ['one', '', ' two', ' three']) await append(file, Buffer.from(part));
  });
  t.is(await readFile(path, 'utf8'), 'one two three');
});

test('a file keeps its mode; a link that leads nowhere is not replaced by a file', async t => {
  const folder = await temporaryFolder(t);
  const [path, link] = [join(folder, 'x'), join(folder, 'link')];
  await writeFile(path, 'before', {mode: 0o600});
  await replaceFile(path, file => append(file, Buffer.from('after')));
  t.is(await readFile(path, 'utf8'), 'after');
  t.is((await stat(path)).mode & 0o777, 0o600);
  await symlink('nowhere', link);
  await t.throwsAsync(
    replaceFile(link, async () => t.fail()),
    {code: 'ERR_FILE_WRITE', message: /it is a link to nowhere, which does not exist/},
  );
});

test('a name may be as long as the file system allows', async t => {
  const folder = await temporaryFolder(t);
  const [path, other] = ['a', 'b'].map(end => join(folder, `${'ü'.repeat(127)}${end}`)) as [string, string];
  await replaceFile(path, async file => {
    const [temporary] = await readdir(folder);
    t.true(temporary!.startsWith('.') && temporary!.endsWith('.tmp'));
    await append(file, Buffer.from('old'));
  });
  // What a killed process leaves of one file is told from what is written of another.
  await replaceFile(other, async () => {
    await removeTemporaries(path);
    t.is((await readdir(folder)).length, 2);
    await removeTemporaries(other);
    t.is((await readdir(folder)).length, 1);
  }).catch(error => t.is(error.code, 'ERR_FILE_WRITE'));
  t.is(await readFile(path, 'utf8'), 'old');
  const tooLong = join(folder, 'x'.repeat(256));
  await t.throwsAsync(
    replaceFile(tooLong, async () => {}),
    {
      code: 'ERR_FILE_WRITE',
      message: `Cannot write ${tooLong}: its name is longer than this file system allows.`,
    },
  );
});

test('texts are written in their order, however many and long they are', async t => {
  const path = join(await temporaryFolder(t), 'texts');
  const texts = Array.from({length: 1000}, (_, i) => `${i}ü`.repeat(i));
  await replaceFile(path, file => appendTexts(file, texts));
  t.is(await readFile(path, 'utf8'), texts.join(''));
  await replaceFile(path, file => appendTexts(file, []));
  t.is(await readFile(path, 'utf8'), '');
});
