/** Files that begin as safetensors and are not. */
import {mkdir, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import {dict, floats, list, pickle, safetensors, tensor} from './build.ts';
import {folder, inZip, refusal} from './refusal.ts';

const four = floats(1, 2, 3, 4);
const x = (fields: object): object => ({x: {dtype: 'F32', shape: [4], data_offsets: [0, 16], ...fields}});
const headers: [what: string, header: object | string, code: RepVGGErrorCode, message: RegExp][] = [
  ['more values than bytes', x({shape: [5]}), 'ERR_CHECKPOINT_CORRUPT', /has bytes 0 to 16, not 20 of them/],
  [
    'a shape beyond all numbers',
    x({shape: Array(64).fill(2 ** 52)}),
    'ERR_CHECKPOINT_CORRUPT',
    /not Infinity of them/,
  ],
  ['65 dimensions', x({shape: Array(65).fill(1)}), 'ERR_CHECKPOINT_CORRUPT', /more than 64 numbers/],
  ['a negative size', x({shape: [-4, -1]}), 'ERR_CHECKPOINT_CORRUPT', /no integer from 0/],
  ['a fraction', x({shape: [4.5]}), 'ERR_CHECKPOINT_CORRUPT', /no integer from 0/],
  [
    'a size of 2^63',
    `{"x":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,16]}}`,
    'ERR_CHECKPOINT_CORRUPT',
    /no integer from 0/,
  ],
  [
    'offsets that go back',
    x({shape: [0], data_offsets: [16, 0]}),
    'ERR_CHECKPOINT_CORRUPT',
    /has bytes 16 to 0/,
  ],
  [
    'tensors that overlap',
    {...x({}), y: {dtype: 'F32', shape: [1], data_offsets: [8, 12]}},
    'ERR_CHECKPOINT_CORRUPT',
    /tensor y at byte 8 of the data overlaps/,
  ],
  [
    'a gap',
    {...x({shape: [1], data_offsets: [0, 4]}), y: {dtype: 'F32', shape: [1], data_offsets: [8, 12]}},
    'ERR_CHECKPOINT_CORRUPT',
    /tensor y at byte 8 of the data follows a gap/,
  ],
  [
    'fewer bytes than stated',
    x({shape: [2 ** 40], data_offsets: [0, 2 ** 42]}),
    'ERR_CHECKPOINT_TRUNCATED',
    /the end of its last tensor at 4398046511/,
  ],
  ['bytes behind the end', x({shape: [3], data_offsets: [0, 12]}), 'ERR_CHECKPOINT_CORRUPT', /bytes follow/],
  ['a type that is not supported', x({dtype: 'F8_E4M3'}), 'ERR_CHECKPOINT_UNSUPPORTED', /the type F8_E4M3/],
  [
    'a type that objects have anyway',
    x({dtype: 'constructor'}),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /the type constructor/,
  ],
  ['no type', {x: {shape: [4], data_offsets: [0, 16]}}, 'ERR_CHECKPOINT_CORRUPT', /an incomplete tensor x/],
  ['three offsets', x({data_offsets: [0, 8, 16]}), 'ERR_CHECKPOINT_CORRUPT', /an incomplete tensor x/],
  ['an unknown field', x({code: 'os.system'}), 'ERR_CHECKPOINT_CORRUPT', /the field code in tensor x/],
  [
    'metadata that are not text',
    {...x({}), __metadata__: {a: {}}},
    'ERR_CHECKPOINT_CORRUPT',
    /its header has no "/,
  ],
  ['no object', '{"x"]', 'ERR_CHECKPOINT_CORRUPT', /its header has no : at character 4/],
  ['a string without an end', '{"x\\"', 'ERR_CHECKPOINT_CORRUPT', /a string without an end/],
  ['a malformed string', '{"\\x":', 'ERR_CHECKPOINT_CORRUPT', /a malformed string/],
  ['text behind the object', '{} {}', 'ERR_CHECKPOINT_CORRUPT', /text behind its end/],
  ['a cut object', '{', 'ERR_CHECKPOINT_CORRUPT', /its header has no "/],
  [
    'two tensors of one name',
    '{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    'ERR_CHECKPOINT_CORRUPT',
    /two members named "x"/,
  ],
  [
    'two tensors of one name behind their prefixes',
    {
      x: {dtype: 'F32', shape: [2], data_offsets: [0, 8]},
      'module.x': {dtype: 'F32', shape: [2], data_offsets: [8, 16]},
    },
    'ERR_CHECKPOINT_CORRUPT',
    /two tensors named x/,
  ],
  ['deep brackets', `{"x":{"shape":${'['.repeat(1e6)}`, 'ERR_CHECKPOINT_CORRUPT', /no integer/],
];
for (const [what, header, code, message] of headers) {
  test(`safetensors with ${what}`, refusal, () => safetensors(header, four), code, message);
}

for (const [length, code, message] of [
  [2n ** 63n, 'ERR_CHECKPOINT_UNSUPPORTED', /its header has 9223372036854775808 bytes/],
  [2n ** 22n + 1n, 'ERR_CHECKPOINT_UNSUPPORTED', /its header has 4194305 bytes/],
  [
    500n,
    'ERR_CHECKPOINT_TRUNCATED',
    /ends at byte \d+, before the end of its header at 508, so download or copy it again\.$/,
  ],
] as const) {
  test(
    `safetensors with a header of ${length} bytes`,
    refusal,
    () => safetensors('{}', four, length),
    code,
    message,
  );
}
test(
  'safetensors whose header is not UTF-8',
  refusal,
  () => safetensors('{}', four, 4n).fill(0xff, 9, 12),
  'ERR_CHECKPOINT_CORRUPT',
  /its header is not UTF-8/,
);

async function indexed(index: object | string, parts: Record<string, Buffer> = {}): Promise<string> {
  const path = await folder.path(`${Math.random()}/model.safetensors.index.json`);
  await mkdir(dirname(path));
  await writeFile(path, typeof index === 'string' ? index : JSON.stringify(index));
  for (const [name, bytes] of Object.entries(parts)) await writeFile(join(dirname(path), name), bytes);
  return path;
}

for (const name of ['../part', '/etc/passwd', 'a/part', 'a\\part', 'C:part', '..', '', 'part\0']) {
  test(
    `an index that names ${JSON.stringify(name)}`,
    refusal,
    () => indexed({weight_map: {x: name}}),
    'ERR_CHECKPOINT_UNSAFE',
    /where only files of its own folder are read/,
  );
}
test(
  'an index of a tensor that its part has not',
  refusal,
  () => indexed({weight_map: {y: 'part'}}, {part: safetensors(x({}), four)}),
  'ERR_CHECKPOINT_CORRUPT',
  /tensor y in part, which has no such tensor/,
);
for (const [what, bytes, message] of [
  ['a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1\n', /git lfs pull/],
  ['a page', '<!doctype html>', /expected a part of a checkpoint, .* but found text/],
  [
    'a pickle',
    '\x80\x02}.',
    /expected a part of a checkpoint, .* but the file begins with the bytes 80 02 7d 2e/,
  ],
] as const) {
  test(`an index whose part is ${what}`, async t => {
    const index = await indexed({weight_map: {x: 'part'}}, {part: Buffer.from(bytes, 'latin1')});
    await t.throwsAsync(openCheckpoint(index), {code: 'ERR_CHECKPOINT_FORMAT', message});
  });
}
test(
  'an index of two names that are one without those of wrappers',
  refusal,
  () => indexed({weight_map: {x: 'part', 'module.x': 'part'}}, {part: safetensors(x({}), four)}),
  'ERR_CHECKPOINT_CORRUPT',
  /it has two tensors named x/,
);
test('an index whose parts are pickles of very many values together', async t => {
  const parts = Array.from({length: 6}, (_, i): [string, Buffer] => [
    `${i}.bin`,
    inZip(pickle(dict({[`x${i}`]: tensor({length: 4, shape: [4]}), y: list('N'.repeat(2e5))}))),
  ]);
  const weight_map = Object.fromEntries(parts.map(([name], i) => [`x${i}`, name]));
  await t.throwsAsync(openCheckpoint(await indexed({weight_map}, Object.fromEntries(parts))), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /[34]\.bin: its pickle makes more than 1,000,000 values/,
  });
});
test(
  'an index with two members of one name',
  refusal,
  () => indexed('{"weight_map":{"x":"part","x":"part"}}'),
  'ERR_CHECKPOINT_CORRUPT',
  /its index has two members named "x"/,
);
test(
  'an index without tensors',
  refusal,
  () => indexed({metadata: {weight_map: {}}}),
  'ERR_CHECKPOINT_FORMAT',
  /no "weight_map"/,
);
test(
  'an index of 300 files',
  refusal,
  () => {
    const names = Array.from({length: 300}, (_, i) => `part${i}`);
    const parts = Object.fromEntries(
      names.map((name, i) => [
        name,
        safetensors({[`x${i}`]: {dtype: 'F32', shape: [4], data_offsets: [0, 16]}}, four),
      ]),
    );
    return indexed({weight_map: Object.fromEntries(names.map((name, i) => [`x${i}`, name]))}, parts);
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  /more than 256 files/,
);

// 4 MB of JSON are looked at, in all files together, so that no number of files and names takes long.
const empty = {dtype: 'F32', shape: [0], data_offsets: [0, 0]};
const named = (count: number, prefix = 'x'): [string, object][] =>
  Array.from({length: count}, (_, i) => [`${prefix}${i}`, empty]);
const none = Buffer.alloc(0);
for (const [what, make, message] of [
  [
    'an index of 4 MB',
    () => indexed({weight_map: {}, metadata: 'm'.repeat(2 ** 22)}),
    /its index has 41943\d\d bytes, where at most 4194304 are supported/,
  ],
  [
    'an index of very many tensors',
    () => indexed({weight_map: Object.fromEntries(named(100_000).map(([name]) => [name, 'part']))}),
    /more than 20,000 tensors/,
  ],
  [
    'a header of very many tensors',
    () => safetensors(Object.fromEntries(named(60_000)), none),
    /more than 20,000 tensors/,
  ],
  [
    'parts of very many tensors together',
    () => {
      const parts = Array.from({length: 250}, (_, part) => [
        `part${part}`,
        safetensors(Object.fromEntries(named(100, `${part}.`)), none),
      ]);
      const weight_map = Object.fromEntries(parts.map(([name], part) => [`${part}.0`, name]));
      return indexed({weight_map}, Object.fromEntries(parts));
    },
    /more than 20,000 tensors/,
  ],
  [
    'parts of long headers together',
    () => {
      const parts = Array.from({length: 256}, (_, part) => [
        `part${part}`,
        safetensors({__metadata__: {of: 'm'.repeat(2 ** 18)}, [`${part}`]: empty}, none),
      ]);
      const weight_map = Object.fromEntries(parts.map(([name], part) => [`${part}`, name]));
      return indexed({weight_map}, Object.fromEntries(parts));
    },
    /the headers of its files together have 4\d{6} bytes, where at most 4194304 are supported/,
  ],
] as const) {
  test(what, refusal, make, 'ERR_CHECKPOINT_UNSUPPORTED', message);
}
test(
  'very much metadata',
  refusal,
  () => safetensors({__metadata__: Object.fromEntries(named(200_000).map(([name]) => [name, '']))}, none),
  'ERR_CHECKPOINT_CORRUPT',
  /more than 100000 members of an object/,
);
test('as many parts and tensors as there may be are read within three seconds', async t => {
  const parts = Array.from({length: 256}, (_, part): [string, Buffer] => [
    `part${part}`,
    safetensors(Object.fromEntries(named(78, `${part}.`)), none),
  ]);
  const names = parts.flatMap(([name], part) => named(78, `${part}.`).map(([tensor]) => [tensor, name]));
  const path = await indexed({weight_map: Object.fromEntries(names)}, Object.fromEntries(parts));
  const start = process.cpuUsage();
  await using checkpoint = await openCheckpoint(path);
  const {user, system} = process.cpuUsage(start);
  t.is(checkpoint.tensors.size, 78 * 256);
  t.true(user + system < 3e6, `${user + system} us`);
});

test('an index whose part is no file', async t => {
  const path = await indexed({weight_map: {x: 'part'}});
  await t.throwsAsync(openCheckpoint(path), {code: 'ERR_FILE_NOT_FOUND', message: /part: no such file/});
});
