import {randomBytes} from 'node:crypto';
import {readFile} from 'node:fs/promises';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {RepVGGError} from '../../ts/errors.ts';
import {checkpoint as fixture} from '../fixtures.ts';
import {concat, dict, floats, int, pickle, tensor, torchZip, u32, u64, zip} from './build.ts';
import {folder, inZip, oneTensor, openAndReadAll, refusal} from './refusal.ts';

async function cut(name: string, bytes: number): Promise<Buffer> {
  const whole = await readFile(fixture(name));
  return whole.subarray(0, whole.length - bytes);
}

// What people meet without any malice.

test('a missing file', refusal, () => folder.path('missing.pth'), 'ERR_FILE_NOT_FOUND', /no such file/);
test('a directory', refusal, () => folder.path('.'), 'ERR_FILE_READ', /it is a directory/);
test('a device', refusal, () => '/dev/null', 'ERR_FILE_READ', /not a regular file/);
test('an empty file', refusal, () => Buffer.alloc(0), 'ERR_CHECKPOINT_FORMAT', /the file is empty/);
test(
  'a text file',
  refusal,
  () => Buffer.from('<!doctype html>\n<p>Too many requests'),
  'ERR_CHECKPOINT_FORMAT',
  /found text/,
);
test(
  'an unknown file',
  refusal,
  () => Buffer.from('GGUF\x03\0\0\0\x01'),
  'ERR_CHECKPOINT_FORMAT',
  /bytes 47 47 55 46 03 00 00 00/,
);
test(
  'another zip',
  refusal,
  () => zip([{name: 'a/b.txt', data: floats(1)}]),
  'ERR_CHECKPOINT_FORMAT',
  /one entry \*\/data\.pkl, but found none/,
);
test(
  'a plain pickle',
  refusal,
  () => pickle(dict({a: 'N'})),
  'ERR_CHECKPOINT_FORMAT',
  /a dict with the keys a\.$/,
);
test(
  'TorchScript',
  refusal,
  () => oneTensor({}, {'constants.pkl': {data: pickle(')')}}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /torch\.jit\.load/,
);
test(
  'a version to come',
  refusal,
  () => oneTensor({}, {version: {data: Buffer.from('11\n')}}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /version 1 to 10 but found version 11/,
);
test(
  'an odd byte order',
  refusal,
  () => oneTensor({}, {byteorder: {data: Buffer.from('middle')}}),
  'ERR_CHECKPOINT_CORRUPT',
  /byteorder/,
);
test(
  'no tensors',
  refusal,
  () => inZip(pickle(dict({epoch: int(3), model: dict({a: 'N'})}))),
  'ERR_CHECKPOINT_FORMAT',
  /a dict with the keys epoch, model/,
);
test(
  'a program of torch.export',
  refusal,
  () =>
    zip([
      {name: 'a/data/weights/weight_0', data: floats(1)},
      {name: 'a/archive_format', data: Buffer.from('pt2')},
    ]),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /it is a torch\.export program, so save its weights in Python: torch\.save\(torch\.export\.load/,
);
test(
  'a single tensor',
  refusal,
  () => inZip(pickle(tensor({length: 4, shape: [4]}))),
  'ERR_CHECKPOINT_FORMAT',
  /a single tensor/,
);
test(
  'one name twice',
  refusal,
  () =>
    inZip(pickle(dict({w: tensor({length: 4, shape: [4]}), 'module.w': tensor({length: 4, shape: [4]})}))),
  'ERR_CHECKPOINT_CORRUPT',
  /two tensors named w/,
);
test(
  'an expanded tensor',
  refusal,
  () => oneTensor({shape: [2 ** 20, 4], stride: [0, 1]}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /\.contiguous\(\)/,
);

test(
  'a tensor that is the negative of what is stored',
  refusal,
  () => {
    const plain = tensor({length: 4, shape: [4]}).toString('latin1');
    // A seventh argument behind the hooks: PyTorch's metadata.
    return inZip(
      pickle(
        dict({x: Buffer.from(plain.replace(/tR$/, `${dict({neg: '\x88'}).toString('latin1')}tR`), 'latin1')}),
      ),
    );
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  /it has a tensor that is the negative of what is stored, so save it with \.resolve_neg\(\)\.$/,
);

test(
  'a zip without its end',
  refusal,
  () => cut('narrow.deploy.zip.pth', 100),
  'ERR_CHECKPOINT_TRUNCATED',
  /download or copy it again/,
);
test(
  'a zip of its first bytes',
  refusal,
  () => Buffer.from('PK\x03\x04'),
  'ERR_CHECKPOINT_TRUNCATED',
  /its end, with the directory, is missing/,
);
test(
  'a legacy file cut in a tensor',
  refusal,
  () => cut('narrow.deploy.legacy.pth', 100),
  'ERR_CHECKPOINT_TRUNCATED',
  /before the end of storage \d+ at/,
);
test(
  'a legacy file cut in a pickle',
  refusal,
  async () => (await readFile(fixture('narrow.deploy.legacy.pth'))).subarray(0, 500),
  'ERR_CHECKPOINT_TRUNCATED',
  /its pickle wants/,
);
test(
  'a legacy file of its first bytes',
  refusal,
  () => Buffer.from('\x80\x02\x8a\x0a', 'latin1'),
  'ERR_CHECKPOINT_TRUNCATED',
  /its pickle wants 10 bytes at byte 4, where 0 are left/,
);

test(
  'bytes behind the end of a zip',
  refusal,
  () => concat(oneTensor({}), 'more'),
  'ERR_CHECKPOINT_CORRUPT',
  /bytes follow the end of its zip, so download or copy it again\.$/,
);

test('a path that is none', async t => {
  await t.throwsAsync(openCheckpoint(undefined as unknown as string), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'Expected the path of a checkpoint for path but received undefined.',
  });
});

test('a flipped bit in the weights', async t => {
  const bytes = await readFile(fixture('narrow.deploy.zip.pth'));
  bytes[bytes.indexOf('data/3') + 1000]! ^= 4;
  const path = await folder.write(bytes);
  const error = await t.throwsAsync(openAndReadAll(path), {
    instanceOf: RepVGGError,
    code: 'ERR_CHECKPOINT_CORRUPT',
  });
  t.regex(error.message, /does not match its checksum/);
});

// Zips that are not what they say.

const bomb = {deflate: true, data: Buffer.alloc(2 ** 25)};
test(
  'a zip entry that claims more than deflate can do',
  refusal,
  () => oneTensor({}, {'data.pkl': {deflate: true, size: 2 ** 20}}),
  'ERR_CHECKPOINT_CORRUPT',
  /data\.pkl claims to grow from \d+ to 1048576 bytes/,
);
test(
  'a small zip bomb',
  refusal,
  () => oneTensor({}, {'data.pkl': {deflate: true, data: Buffer.alloc(2 ** 21)}}),
  'ERR_CHECKPOINT_CORRUPT',
  /data\.pkl claims to grow from \d+ to 2097152 bytes/,
);
for (const name of [
  '../data.pkl',
  '/data.pkl',
  'C:/data.pkl',
  'archive/../../data.pkl',
  'archive\\..\\data.pkl',
]) {
  test(
    `a zip entry named ${name}`,
    refusal,
    () => oneTensor({}, {other: {name, data: Buffer.from('x')}}),
    'ERR_CHECKPOINT_CORRUPT',
    /its zip directory is damaged \((relative path|absolute path|invalid relative path|invalid characters)/,
  );
}
test(
  'a zip bomb',
  refusal,
  () => oneTensor({length: 2 ** 23, shape: [2 ** 23]}, {'data/0': bomb}),
  'ERR_CHECKPOINT_CORRUPT',
  /archive\/data\/0 claims to grow from \d+ to 33554432 bytes/,
);
test(
  'a zip bomb that hides its size',
  refusal,
  () => oneTensor({}, {'data/0': {...bomb, size: 16}}),
  'ERR_CHECKPOINT_CORRUPT',
  /archive\/data\/0 cannot be inflated/,
);
test(
  'a pickle that is deflated, of 100 MB',
  refusal,
  () =>
    torchZip(
      Buffer.alloc(10),
      {},
      {
        'data.pkl': {
          deflate: true,
          size: 1e8,
          data: randomBytes(2e6),
        },
      },
    ),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /at most 8388608 are expected/,
);
test(
  'an entry that inflates to less',
  refusal,
  () => oneTensor({}, {'data/0': {deflate: true, data: floats(1, 2, 3), size: 16}}),
  'ERR_CHECKPOINT_CORRUPT',
  /inflates to 12 bytes, not 16/,
);
test(
  'an entry with a name of 3000 bytes',
  refusal,
  () => oneTensor({}, {other: {name: `archive/${'x'.repeat(3000)}`}}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /zip entry archive\/x+… takes more than 2048 bytes in the directory/,
);
test(
  'two entries of one name',
  refusal,
  () => oneTensor({}, {other: {name: 'archive/data/0', data: floats(5, 6, 7, 8)}}),
  'ERR_CHECKPOINT_CORRUPT',
  /two entries named archive\/data\/0/,
);
test(
  'two entries at one place',
  refusal,
  () => oneTensor({}, {other: {data: floats(5, 6, 7, 8), offset: 0}}),
  'ERR_CHECKPOINT_CORRUPT',
  /reaches into what follows/,
);
test(
  'two pickles',
  refusal,
  () => oneTensor({}, {other: {name: 'other/data.pkl', data: pickle('N')}}),
  'ERR_CHECKPOINT_FORMAT',
  /one entry \*\/data\.pkl, but found 2/,
);
test(
  'an encrypted entry',
  refusal,
  () => oneTensor({}, {'data/0': {flags: 1, compressedSize: 28}}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /archive\/data\/0 is encrypted/,
);
test(
  'an entry compressed by LZMA',
  refusal,
  () => oneTensor({}, {'data/0': {method: 14}}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /method 14/,
);
test(
  'a damaged pickle',
  refusal,
  () => oneTensor({}, {'data.pkl': {crc: 1}}),
  'ERR_CHECKPOINT_CORRUPT',
  /data\.pkl does not match its checksum/,
);

test(
  'an entry that begins later than its neighbour allows',
  refusal,
  () => oneTensor({}, {'data/0': {localExtra: 1}}),
  'ERR_CHECKPOINT_CORRUPT',
  /archive\/data\/0 of 16 bytes reaches into what follows/,
);

test(
  'a directory of more entries than any checkpoint has',
  refusal,
  manyEntries,
  'ERR_CHECKPOINT_UNSUPPORTED',
  /more than 10000 entries/,
);

function manyEntries(): Buffer {
  const bytes = oneTensor({});
  bytes.writeUInt16LE(10_001, bytes.length - 12);
  return bytes;
}

test('a directory that lies far outside the file', async t => {
  const bytes = oneTensor({});
  const locator = concat('PK\x06\x07', u32(0), u64(2n ** 63n), u32(1));
  const path = await folder.write(concat(bytes.subarray(0, -22), locator, bytes.subarray(-22)));
  await t.throwsAsync(openAndReadAll(path), {
    code: 'ERR_CHECKPOINT_CORRUPT',
    message: /zip directory points to byte 9223372036854776000/,
  });
});
