/** What people have in the place of a checkpoint is told by name, with what to do about it. */
import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {locateCheckpoint} from '../../ts/loading/locate.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {Folder, zip} from './build.ts';
import {refusal} from './refusal.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 36588855\n';
for (const [what, bytes, message] of [
  [
    'a pointer of Git LFS',
    Buffer.from(pointer),
    /Git LFS pointer in place of the file, so fetch that: git lfs pull\.$/,
  ],
  ['a compressed file', gzipSync('weights'), /it is compressed with gzip, so unpack it first\.$/],
  ['an array of numpy', Buffer.from('\x93NUMPY\x01\0v\0{', 'latin1'), /it is a numpy array, so save/],
  ['HDF5', Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), /it is an HDF5 file, as Keras writes them/],
  ['TensorFlow Lite', Buffer.from('\x1c\0\0\0TFL3', 'latin1'), /it is a TensorFlow Lite model/],
] as const) {
  test(what, refusal, () => folder.write(bytes), 'ERR_CHECKPOINT_FORMAT', message);
}
for (const [what, name, message] of [
  ['arrays of numpy', 'linear.weight.npy', /it contains numpy arrays, so save the arrays with/],
  [
    'a zip of a checkpoint',
    'RepVGG-A0/RepVGG-A0-train.pth',
    /a zip that contains a checkpoint, so unpack it first/,
  ],
  ['a program of torch.export', 'x/archive_format', /torch\.export\.load\(path\)\.state_dict/],
  ['Keras', 'model.weights.h5', /it is a Keras model/],
] as const) {
  test(
    `${what}, a zip`,
    refusal,
    () => folder.write(zip([{name, data: Buffer.from('x')}])),
    'ERR_CHECKPOINT_UNSUPPORTED',
    message,
  );
}
test(
  'several zips behind one another, of torch.distributed.checkpoint',
  refusal,
  async () => {
    const path = await folder.path('__0_0.distcp');
    const parts = ['x', 'a longer one'].map(data =>
      zip([{name: 'archive/data.pkl', data: Buffer.from(data)}]),
    );
    await writeFile(path, Buffer.concat(parts));
    return path;
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  /dcp_to_torch FOLDER OUT\.pth\.$/,
);

async function folderOf(...names: string[]): Promise<string> {
  const path = await folder.path(String(Math.random()));
  await mkdir(path);
  for (const name of names) await writeFile(join(path, name), '');
  return path;
}

for (const [names, code, message] of [
  [['.metadata', '__0_0.distcp', 'meta.pt'], 'ERR_CHECKPOINT_UNSUPPORTED', /dcp_to_torch FOLDER OUT\.pth\.$/],
  [['latest', 'zero_to_fp32.py'], 'ERR_CHECKPOINT_UNSUPPORTED', /python zero_to_fp32\.py FOLDER OUT\.$/],
  [
    ['byteorder', 'data', 'data.pkl', 'version'],
    'ERR_CHECKPOINT_UNSUPPORTED',
    /unpacked PyTorch file, so download that again without unpacking it\.$/,
  ],
  [
    ['saved_model.pb'],
    'ERR_CHECKPOINT_UNSUPPORTED',
    /it is a TensorFlow model, so export the network as ONNX\.$/,
  ],
  [
    ['b.pth', 'a.pth', 'README.md'],
    'ERR_FILE_READ',
    /it is a directory with a\.pth, b\.pth, so name the file\.$/,
  ],
  [['README.md'], 'ERR_FILE_READ', /it is a directory with no file of weights, so name the file\.$/],
] as const) {
  test(`a folder with ${names.join(', ')}`, async t => {
    await t.throwsAsync(locateCheckpoint(await folderOf(...names)), {code, message});
  });
}

test('the weights in a folder are found by the names that libraries give them', async t => {
  for (const [names, chosen] of [
    [['config.json', 'model.safetensors', 'old.pth'], 'model.safetensors'],
    [
      ['pytorch_model.bin.index.json', 'pytorch_model-1.bin', 'pytorch_model-2.bin'],
      'pytorch_model.bin.index.json',
    ],
    [['zero_to_fp32.py', 'latest', 'pytorch_model.bin'], 'pytorch_model.bin'],
    [['best.ckpt', 'log.txt'], 'best.ckpt'],
    [['best.pth', 'data'], 'best.pth'],
  ] as const) {
    const path = await folderOf(...names);
    t.is(await locateCheckpoint(path), join(path, chosen));
  }
  await using checkpoint = await openCheckpoint(await locateCheckpoint(fixture('sharded')));
  t.is(checkpoint.format, 'index of several files');
  t.is(await locateCheckpoint('/nonexistent/x'), '/nonexistent/x');
  for (const name of ['RepVGG-A0', 'B1g4', 'repvgg_a0']) {
    await t.throwsAsync(locateCheckpoint(name), {
      code: 'ERR_FILE_NOT_FOUND',
      message: /that is an architecture/,
    });
  }
  await t.throwsAsync(locateCheckpoint('https://example.com/RepVGG-A0-train.pth'), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /: URLs are not read; download it, and name the file\.$/,
  });
});
