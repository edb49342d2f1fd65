/** Files of MindSpore, Paddle, MegEngine and PyTorch 0.1 that are not what they should be. */
import test from 'ava';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import {concat, dict, floats, int, list, pickle, storage, text, tuple, u64} from './build.ts';
import {
  array,
  bytes,
  checked,
  message,
  parameter,
  tar,
  tarStorage,
  tarTensor,
  torchTar,
  varint,
} from './build_others.ts';
import {folder, openAndReadAll, refusal} from './refusal.ts';

type Case = [title: string, file: Buffer, code: RepVGGErrorCode, message: RegExp];

const corrupt = 'ERR_CHECKPOINT_CORRUPT';
const unsupported = 'ERR_CHECKPOINT_UNSUPPORTED';
const truncated = 'ERR_CHECKPOINT_TRUNCATED';
const unsafe = 'ERR_CHECKPOINT_UNSAFE';

const whole = parameter();
/** A tensor's message in place of a sound one. */
const inTensor = (content: Buffer): Buffer => message(1, concat(message(1, 'x'), message(2, content)));

const mindSpore: Case[] = [
  ...[0x7f3a5ed8, 0x7f3a5ed9, 0x7f3a5eda].map((mark): Case => {
    const start = Buffer.alloc(64);
    start.writeUInt32LE(mark);
    return [`encrypted as ${mark.toString(16)}`, start, unsupported, /encrypted.*dec_key/];
  }),
  ['another checksum', checked(whole, 1), corrupt, /does not match its checksum/],
  ['a flipped bit', flipped(checked(whole), whole.length - 3), corrupt, /does not match its checksum/],
  [
    'a cut in a tensor',
    concat(whole, whole.subarray(0, -5)),
    truncated,
    /of 34 bytes, where 29 are left, so/,
  ],
  ['a cut in a number', concat(whole, '\n\xff'), corrupt, /number without an end/],
  ['a length of 2^63', concat(whole, '\n', varint(2n ** 63n)), truncated, /of 9223372036854775808 bytes/],
  ['a number of eleven bytes', concat(whole, '\n', '\xff'.repeat(11), 'x'), corrupt, /without an end/],
  ['a field of number 0', concat(whole, '\x02\x01x'), corrupt, /which there is not/],
  ['a group', concat(whole, '\x0b'), corrupt, /a field of type 3/],
  ['a message within a message', inTensor(message(3, 'x'.repeat(9))), corrupt, /without a name, a type/],
  ['one name twice', concat(whole, whole), corrupt, /two tensors named x/],
  ['more than its elements', parameter({dims: [3]}), corrupt, /of shape \[3\] has 16 bytes/],
  ['less than its elements', parameter({dims: [5]}), corrupt, /of shape \[5\] has 16 bytes/],
  [
    'a slice of another tensor',
    concat(parameter({dims: [8]}), parameter({name: 'y', dims: [8]})),
    corrupt,
    /tensor x of shape \[8\] has 16 bytes/,
  ],
  ['a negative dimension', parameter({dims: [-4]}), corrupt, /a dimension of -4/],
  ['sizes of 2^120', parameter({dims: [2n ** 60n, 2n ** 60n]}), corrupt, /has 16 bytes/],
  ['a hundred dimensions', parameter({dims: Array(100).fill(1)}), corrupt, /a list of more than 64 numbers/],
  ['an unknown type', parameter({type: 'Int4'}), unsupported, /type Int4.*Float32/],
  ['a long name', concat(whole, parameter({name: 'x'.repeat(2000)})), corrupt, /a name of 2000 bytes/],
  [
    'a tensor in more slices than there are',
    concat(...Array.from({length: 65}, () => parameter({dims: [100], content: floats(1)}))),
    unsupported,
    /more than 64 slices/,
  ],
  ['a map', message(1, concat(message(1, 'x'), message(3, 'y'))), unsupported, /map tensors/],
  ['no tensors', parameter({type: 'str'}), 'ERR_CHECKPOINT_FORMAT', /expected tensors/],
];

function flipped(file: Buffer, at: number): Buffer {
  const copy = Buffer.from(file);
  copy[at]! ^= 1;
  return copy;
}

const inDict = (...parts: (string | Buffer)[]): Buffer => pickle(dict({x: concat(...parts)}));
const evalOf = (...args: Buffer[]): Buffer => concat('c__builtin__\neval\n', tuple(...args), 'R');

const arrays: Case[] = [
  [
    'a shape of too much',
    inDict(array({shape: [5]})),
    corrupt,
    /array x of shape \[5\] needs 20 bytes but has 16/,
  ],
  ['a shape of too little', inDict(array({shape: [3]})), corrupt, /needs 12 bytes but has 16/],
  ['a negative size', inDict(array({shape: [-4]})), corrupt, /malformed array/],
  ['a thousand sizes', inDict(array({shape: Array(1000).fill(1)})), corrupt, /malformed array/],
  ['sizes of 2^90', inDict(array({shape: [2 ** 30, 2 ** 30, 2 ** 30]})), corrupt, /but has 16/],
  ['an array of objects', inDict(array({type: 'O8', bytes: list('N')})), unsupported, /numpy's type O8/],
  ['an array of text', inDict(array({type: 'U4'})), unsupported, /numpy's type U4/],
  [
    'an array of what no line shows',
    inDict(array({type: '\n\u001b[2J'})),
    unsupported,
    /numpy's type \\n\\u001b\[2J,/,
  ],
  ['an array of nothing', inDict('cnumpy.core.multiarray\n_reconstruct\n)R'), unsupported, /type nothing/],
  [
    'an array without a type',
    inDict('cnumpy.core.multiarray\n_reconstruct\n)R(NNNNNtb'),
    corrupt,
    /malformed array/,
  ],
  [
    'bytes of 2^63',
    inDict('cnumpy.core.multiarray\n_reconstruct\n)R', '\x8e', u64(2n ** 63n)),
    truncated,
    /wants 9223372036854776000 bytes/,
  ],
  [
    'text that is no bytes',
    inDict(
      array({shape: [2000], bytes: concat('c_codecs\nencode\n', tuple(text('\u20ac'.repeat(4000))), 'R')}),
    ),
    corrupt,
    /text of array x is not that of 8000 bytes/,
  ],
  [
    'text of too few bytes',
    inDict(
      array({shape: [2000], bytes: concat('c_codecs\nencode\n', tuple(text('\xff'.repeat(4500))), 'R')}),
    ),
    corrupt,
    /text of array x is not that of 8000 bytes/,
  ],
  [
    "Paddle's tensors by eval",
    inDict(evalOf(text('data'), dict({data: array()}))),
    unsafe,
    /calls builtins\.eval/,
  ],
  [
    'a method of an array',
    inDict('cbuiltins\ngetattr\n', tuple('cnumpy\nndarray\n', text('tofile')), 'R', tuple(text('x')), 'R'),
    unsafe,
    /calls numpy\.ndarray\.tofile/,
  ],
  [
    'tensors by pickle.dump',
    inDict('ctorch.storage\n_load_from_bytes\n', tuple(bytes(Buffer.from('x'))), 'R'),
    unsupported,
    /written with pickle\.dump, so write it with torch\.save/,
  ],
  ['a storage', inDict(storage({length: 4, shape: []})), corrupt, /where it can have none/],
  ['a cut', inDict(array()).subarray(0, -20), truncated, /its pickle wants/],
];

const four = floats(1, 2, 3, 4);
const one = pickle(int(1));

const tars: Case[] = [
  ['a damaged header', torchTar({changes: {pickle: {sum: 7}}}), corrupt, /a header of its tar is damaged/],
  ['a size that is none', torchTar({changes: {pickle: {size: '12345678zzz'}}}), corrupt, /header of its tar/],
  [
    'a size beyond the end',
    torchTar({changes: {pickle: {size: '77777777777'}}}),
    truncated,
    /the end of its member pickle at/,
  ],
  ['a member twice', torchTar({changes: {tensors: {name: './pickle'}}}), corrupt, /two members pickle/],
  [
    'a path for a name',
    torchTar({changes: {tensors: {name: '../tensors'}}}),
    'ERR_CHECKPOINT_FORMAT',
    /a member tensors/,
  ],
  [
    'a hundred members',
    tar(Array.from({length: 100}, (_, i) => ({name: `${i}`, data: four}))),
    corrupt,
    /more than 64 members/,
  ],
  [
    'another tar',
    tar([{name: 'cat.jpg', data: four}]),
    'ERR_CHECKPOINT_FORMAT',
    /a member storages, but found none/,
  ],
  [
    'a storage of 2^62',
    torchTar({storages: concat(one, tarStorage(5, 2n ** 62n, four))}),
    truncated,
    /the end of storage 0 at/,
  ],
  [
    'a storage of -1',
    torchTar({storages: concat(one, tarStorage(5, -1n, four))}),
    corrupt,
    /storage 0 is malformed/,
  ],
  [
    '2^31 storages',
    torchTar({storages: concat(pickle('J\xff\xff\xff\x7f'), tarStorage(5, 4n, four))}),
    corrupt,
    /malformed/,
  ],
  [
    'a storage twice',
    torchTar({storages: concat(pickle(int(2)), tarStorage(5, 4n, four), tarStorage(5, 4n, four))}),
    corrupt,
    /the key 5 twice/,
  ],
  [
    'a view beyond its storage',
    torchTar({views: pickle(list(tuple(int(6), int(5), int(2), int(3))))}),
    corrupt,
    /malformed view/,
  ],
  [
    'a view of a view',
    torchTar({
      views: pickle(list(tuple(int(6), int(5), int(0), int(4)), tuple(int(8), int(6), int(0), int(4)))),
    }),
    corrupt,
    /malformed view/,
  ],
  [
    'a view of nothing',
    torchTar({views: pickle(list(tuple(int(6), int(9), int(0), int(1))))}),
    corrupt,
    /malformed view/,
  ],
  [
    'a tensor beyond its storage',
    torchTar({tensors: concat(one, tarTensor(7, 5, 1, [5n, 1n, 0n]))}),
    corrupt,
    /reaches to element 5/,
  ],
  [
    'a tensor of 2^31 sizes',
    torchTar({tensors: concat(one, tarTensor(7, 5, 2 ** 31 - 1, [4n]))}),
    corrupt,
    /tensor 0 is/,
  ],
  [
    'a tensor of -1 sizes',
    torchTar({tensors: concat(one, tarTensor(7, 5, -1, [4n]))}),
    corrupt,
    /tensor 0 is malformed/,
  ],
  [
    'a negative stride',
    torchTar({tensors: concat(one, tarTensor(7, 5, 1, [4n, -1n, 3n]))}),
    corrupt,
    /tensor 0 is/,
  ],
  [
    'a tensor of no storage',
    torchTar({tensors: concat(one, tarTensor(7, 6, 1, [4n, 1n, 0n]))}),
    corrupt,
    /tensor 0 is/,
  ],
  [
    'an unknown key',
    torchTar({root: concat('}(', text('x'), text('8'), 'Qu')}),
    corrupt,
    /a tensor that it has not/,
  ],
  ['a call', torchTar({root: concat('cos\nsystem\n', tuple(text('true')), 'R')}), unsafe, /calls os\.system/],
  [
    'a call among its storages',
    torchTar({storages: pickle('cos\nsystem\n', tuple(text('true')), 'R')}),
    unsafe,
    /calls os\.system/,
  ],
];

for (const [project, cases] of Object.entries({mindSpore, arrays, tars})) {
  for (const [title, file, code, pattern] of cases) {
    test(`${project}: ${title}`, refusal, () => file, code, pattern);
  }
}

test('the same files as they should be are read', async t => {
  for (const file of [whole, checked(whole), inDict(array()), torchTar()]) {
    await t.notThrowsAsync(async () => openAndReadAll(await folder.write(file)));
  }
});
