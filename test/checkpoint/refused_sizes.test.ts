import test from 'ava';
import {dict, int, pickle, tensor, text, torchLegacy, tuple, u32, u64} from './build.ts';
import {inZip, legacy, oneTensor, refusal} from './refusal.ts';

// Lengths that promise more than there is.

const two31 = 2 ** 31 - 1;
test(
  'a string of 2 GB',
  refusal,
  () => inZip(pickle('X', u32(two31), 'abc')),
  'ERR_CHECKPOINT_TRUNCATED',
  /wants 2147483647 bytes at byte 7, where 4 are left/,
);
test(
  'a legacy string of 2 GB',
  refusal,
  () => legacy(pickle('X', u32(two31), 'abc')),
  'ERR_CHECKPOINT_TRUNCATED',
  /wants 2147483647 bytes/,
);
test(
  'a string of 2^64 bytes',
  refusal,
  () => inZip(pickle('\x8d', u64(2n ** 64n - 1n))),
  'ERR_CHECKPOINT_TRUNCATED',
  /wants 18446744073709552000 bytes/,
);
test(
  'an integer of 300 bytes',
  refusal,
  () => inZip(pickle('\x8b', u32(300), Buffer.alloc(300, 1))),
  'ERR_CHECKPOINT_CORRUPT',
  /an integer of 300 bytes/,
);
test(
  'an endless line',
  refusal,
  () => inZip(pickle(`c${'a'.repeat(5000)}`)),
  'ERR_CHECKPOINT_CORRUPT',
  /a line of text without an end/,
);
test('a cut line', refusal, () => inZip(pickle('cos')), 'ERR_CHECKPOINT_TRUNCATED', /its pickle wants/);
test(
  'a storage of 8 GB in a zip',
  refusal,
  () => oneTensor({length: two31, shape: [two31]}),
  'ERR_CHECKPOINT_CORRUPT',
  /storage 0 should have 8589934588 bytes but its zip entry has 16/,
);
test(
  'a storage of 8 GB in a legacy file',
  refusal,
  () => legacy(pickle(dict({x: tensor({length: two31, shape: [two31]})})), two31),
  'ERR_CHECKPOINT_TRUNCATED',
  /the end of storage 0 at 8589934\d+/,
);
test(
  'a legacy storage of another length than stated',
  refusal,
  () => legacy(pickle(dict({x: tensor({length: 4, shape: [4]})})), 3),
  'ERR_CHECKPOINT_CORRUPT',
  /should have 4 elements but states 3/,
);
test(
  'a zip entry of 2 GB',
  refusal,
  () => oneTensor({}, {'data/0': {size: two31, compressedSize: two31}}),
  'ERR_CHECKPOINT_CORRUPT',
  /2147483647 bytes reaches into what follows/,
);
test(
  'a tensor outside its storage',
  refusal,
  () => oneTensor({offset: 1}),
  'ERR_CHECKPOINT_CORRUPT',
  /tensor x of shape \[4\] reaches to element 5 of a storage of 4/,
);
test(
  'strides outside the storage',
  refusal,
  () => oneTensor({shape: [2, 2], stride: [3, 1]}),
  'ERR_CHECKPOINT_CORRUPT',
  /reaches to element 5/,
);
test(
  'a shape beyond all numbers',
  refusal,
  () => oneTensor({shape: Array(64).fill(two31), stride: Array(64).fill(0)}),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /repeats elements/,
);
test(
  'a shape of 65 dimensions',
  refusal,
  () => oneTensor({shape: Array(65).fill(1)}),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed tensor/,
);
test(
  'a negative size',
  refusal,
  () => oneTensor({shape: [-1]}),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed tensor/,
);
test(
  'sizes without strides',
  refusal,
  () => oneTensor({stride: []}),
  'ERR_CHECKPOINT_CORRUPT',
  /more sizes than strides/,
);
test(
  'a negative offset',
  refusal,
  () => oneTensor({offset: -1}),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed tensor/,
);
test(
  'a storage of a negative length',
  refusal,
  () => oneTensor({length: -4}),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed reference to a storage/,
);
test(
  'a storage with two lengths',
  refusal,
  () =>
    legacy(pickle(dict({x: tensor({length: 4, shape: [4]}), y: tensor({length: two31, shape: [two31]})}))),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed reference/,
);
test(
  'a part outside its storage',
  refusal,
  () => legacy(pickle(dict({x: tensor({length: 4, part: tuple(text('v'), int(2), int(3)), shape: [3]})}))),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed reference/,
);
test(
  'a storage that is not there',
  refusal,
  () => oneTensor({key: '../0'}),
  'ERR_CHECKPOINT_CORRUPT',
  /no entry archive\/data\/\.\.\/0/,
);
test(
  'a legacy storage that is not there',
  refusal,
  () => legacy(pickle(dict({x: tensor({key: '9', length: 4, shape: [4]})}))),
  'ERR_CHECKPOINT_CORRUPT',
  /list of storages/,
);
test(
  'a legacy list that lacks a storage',
  refusal,
  () => torchLegacy(pickle(dict({x: tensor({length: 4, shape: [4]})})), {}),
  'ERR_CHECKPOINT_CORRUPT',
  /lacks some/,
);
