import {execFile} from 'node:child_process';
import {chmod, mkdir, readdir, readFile, readlink, stat, symlink, writeFile} from 'node:fs/promises';
import {dirname} from 'node:path';
import {promisify} from 'node:util';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import type {TensorToWrite} from '../../ts/checkpoint/state_dict.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {RepVGGError} from '../../ts/errors.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {testWhere} from '../where.ts';
import {Folder, pickle, tensor, text} from './build.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

function toWrite(name: string, shape: number[], values: number[]): TensorToWrite {
  return {name, shape, values: async () => Float32Array.from(values)};
}

/** The entries of a zip without ZIP64, found through its directory as a reader does. */
function zipEntries(bytes: Buffer): {name: string; start: number; data: Buffer}[] {
  const entries = [];
  let at = bytes.readUInt32LE(bytes.length - 6);
  for (let left = bytes.readUInt16LE(bytes.length - 12); left > 0; left--) {
    const nameLength = bytes.readUInt16LE(at + 28);
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(start, start + bytes.readUInt32LE(at + 24));
    entries.push({name: bytes.toString('utf8', at + 46, at + 46 + nameLength), start, data});
    at += 46 + nameLength;
  }
  return entries;
}

test('what is written is read back bit for bit', async t => {
  await using before = await openCheckpoint(fixture('narrow.deploy.zip.pth'));
  const path = await folder.path('copy.pth');
  const tensors = [...before.tensors.values()].map(({name, shape, read}) => ({
    name,
    shape,
    values: read as () => Promise<Float32Array>,
  }));
  await writePyTorch(path, tensors);
  await using after = await openCheckpoint(path);
  t.is(after.format, 'PyTorch zip');
  t.deepEqual([...after.tensors.keys()], [...before.tensors.keys()]);
  for (const [name, {shape, dtype, read}] of after.tensors) {
    t.deepEqual(shape, before.tensors.get(name)!.shape);
    t.is(dtype, 'f32');
    t.deepEqual(await read(), await before.tensors.get(name)!.read());
  }
  const first = await readFile(path);
  await writePyTorch(path, tensors);
  t.true(first.equals(await readFile(path)), 'equal weights make equal files');
});

test('the file is laid out as torch.save lays it out, its data aligned', async t => {
  const path = await folder.path('layout.pth');
  await writePyTorch(path, [
    toWrite('a.weight', [2, 3, 1], [1, 2, 3, 4, 5, 6]),
    toWrite('é', [], [7]),
    toWrite('c', [0, 2], []),
  ]);
  const entries = zipEntries(await readFile(path));
  t.deepEqual(
    entries.map(({name}) => name),
    [
      'archive/data.pkl',
      'archive/byteorder',
      'archive/data/0',
      'archive/data/1',
      'archive/data/2',
      'archive/version',
    ],
  );
  for (const {name, start} of entries) t.is(start % 64, 0, name);
  const [object, order, six, one, none, version] = entries.map(({data}) => data);
  t.deepEqual([...new Float32Array(new Uint8Array(six!).buffer)], [1, 2, 3, 4, 5, 6]);
  t.is(one?.readFloatLE(), 7);
  t.is(none?.length, 0);
  t.is(order?.toString(), 'little');
  t.is(version?.toString(), '3\n');
  t.deepEqual(
    object,
    pickle(
      'ccollections\nOrderedDict\n)R(',
      text('a.weight'),
      tensor({key: '0', length: 6, shape: [2, 3, 1]}),
      text('é'),
      tensor({key: '1', length: 1, shape: []}),
      text('c'),
      tensor({key: '2', length: 0, shape: [0, 2]}),
      'u',
    ),
  );
});

test('tensors are asked for one by one', async t => {
  const log: string[] = [];
  const slow = (name: string): TensorToWrite => ({
    ...toWrite(name, [1], [1]),
    async values() {
      log.push(`begin ${name}`);
      await new Promise(resolve => setTimeout(resolve, 5));
      log.push(`end ${name}`);
      return Float32Array.of(1);
    },
  });
  await writePyTorch(await folder.path('slow.pth'), [slow('a'), slow('b')]);
  t.deepEqual(log, ['begin a', 'end a', 'begin b', 'end b']);
});

test('a failed write leaves what was there, and nothing else', async t => {
  const path = await folder.path('kept/weights.pth');
  await mkdir(dirname(path));
  await writeFile(path, 'before');
  const failing: TensorToWrite = {
    ...toWrite('b', [1], [1]),
    values: () => Promise.reject(new Error('no luck')),
  };
  const source = new RepVGGError('ERR_CHECKPOINT_CORRUPT', 'The source is damaged.');
  const damaged: TensorToWrite = {...failing, values: () => Promise.reject(source)};
  const good = toWrite('a', [1], [1]);
  await t.throwsAsync(writePyTorch(path, [good, failing]), {
    instanceOf: RepVGGError,
    code: 'ERR_FILE_WRITE',
    message: `Cannot write ${path}: no luck.`,
  });
  t.is(await t.throwsAsync(writePyTorch(path, [good, damaged])), source);
  await t.throwsAsync(writePyTorch(path, [good, toWrite('b', [3], [1, 2])]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'Expected 3 numbers for the values of b but received 2.',
  });
  await t.throwsAsync(writePyTorch(path, [good, good]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /different names/,
  });
  t.deepEqual(await readdir(dirname(path)), ['weights.pth']);
  t.is(await readFile(path, 'utf8'), 'before');
});

test('only a regular file is replaced', async t => {
  const pipe = await folder.path('pipes/pipe');
  await mkdir(dirname(pipe));
  await promisify(execFile)('mkfifo', [pipe]);
  const device = '/dev/full';
  const dangling = await folder.path('pipes/link');
  await symlink('nowhere', dangling);
  for (const [path, problem] of [
    [pipe, 'it is not a regular file'],
    [device, 'it is not a regular file'],
    [dangling, 'it is a link to nowhere, which does not exist'],
  ] as const) {
    const asked: TensorToWrite = {...toWrite('a', [1], [1]), values: async () => t.fail() as never};
    await t.throwsAsync(writePyTorch(path, [asked]), {
      code: 'ERR_FILE_WRITE',
      message: `Cannot write ${path}: ${problem}.`,
    });
  }
  t.deepEqual((await readdir(dirname(pipe))).sort(), ['link', 'pipe']);
});

test('a link stays one, and a file keeps its mode', async t => {
  const file = await folder.path('linked/weights.pth');
  const link = await folder.path('linked/link.pth');
  await mkdir(dirname(file));
  await writeFile(file, 'before');
  await chmod(file, 0o640);
  await symlink('weights.pth', link);
  await writePyTorch(link, [toWrite('a', [1], [1])]);
  t.is(await readlink(link), 'weights.pth');
  t.is((await stat(file)).mode & 0o7777, 0o640);
  await using written = await openCheckpoint(file);
  t.deepEqual([...written.tensors.keys()], ['a']);
  t.deepEqual((await readdir(dirname(file))).sort(), ['link.pth', 'weights.pth']);
});

testWhere(process.getuid?.() !== 0, 'root may write whatever the mode says')(
  'a file without write permission is not replaced',
  async t => {
    const path = await folder.path('read-only.pth');
    await writeFile(path, 'before', {mode: 0o444});
    await t.throwsAsync(writePyTorch(path, [toWrite('a', [1], [1])]), {
      code: 'ERR_FILE_WRITE',
      message: `Cannot write ${path}: permission denied.`,
    });
    t.is(await readFile(path, 'utf8'), 'before');
  },
);

test('an abort ends the writing with its reason and leaves what was there', async t => {
  const path = await folder.path('aborted/weights.pth');
  await mkdir(dirname(path));
  await writeFile(path, 'before');
  const controller = new AbortController();
  const reason = new Error('enough');
  const aborting: TensorToWrite = {
    ...toWrite('a', [1], [1]),
    async values() {
      controller.abort(reason);
      return Float32Array.of(1);
    },
  };
  t.is(await t.throwsAsync(writePyTorch(path, [aborting], controller.signal)), reason);
  t.deepEqual(await readdir(dirname(path)), ['weights.pth']);
  t.is(await readFile(path, 'utf8'), 'before');
});

test('a place that cannot be written to', async t => {
  const good = toWrite('a', [1], [1]);
  await t.throwsAsync(writePyTorch(await folder.path('none/x.pth'), [good]), {
    code: 'ERR_FILE_WRITE',
    message: /there is no folder .*none\.$/,
  });
  const path = await folder.path('place/x.pth');
  await mkdir(path, {recursive: true});
  await t.throwsAsync(writePyTorch(path, [good]), {
    code: 'ERR_FILE_WRITE',
    message: `Cannot write ${path}: it is a directory.`,
  });
  t.deepEqual(await readdir(dirname(path)), ['x.pth']);
});
