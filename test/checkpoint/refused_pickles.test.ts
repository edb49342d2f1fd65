import test from 'ava';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import {hostile} from '../fixtures.ts';
import {concat, dict, int, ints, legacyMagic, pickle, storage, text, torchLegacy, tuple} from './build.ts';
import {inZip, legacy, refusal} from './refusal.ts';

// Pickles that want to run something.

for (const name of ['os_system.pth', 'os_system.legacy.pth']) {
  test(name, refusal, () => hostile(name), 'ERR_CHECKPOINT_UNSAFE', /calls os\.system, .* nothing was run/);
}
const calls: [name: string, parts: (string | Buffer)[]][] = [
  ['os.system', ['cos\nsystem\n', tuple(text('true')), 'R']],
  ['os.system', ['cposix\nsystem\n', tuple(text('true')), 'R']],
  ['builtins.eval', ['c__builtin__\neval\n', tuple(text('1')), 'R']],
  ['subprocess.Popen', ['(', text('true'), 'isubprocess\nPopen\n']],
  ['torch.load', ['ctorch\nload\n', tuple(text('x')), 'R']],
  ['torch.nn.modules.linear.Linear', [text('torch.nn.modules.linear'), text('Linear'), '\x93)R']],
  ['collections.OrderedDict.fromkeys', ['ccollections\nOrderedDict.fromkeys\n)R']],
  // Names within names lead nowhere else.
  ['os.path.system', ['cbuiltins\ngetattr\n', tuple('cos\npath\n', text('system')), 'R)R']],
  ['functools.partial.func', ['cbuiltins\ngetattr\n', tuple('cfunctools\npartial\n', text('func')), 'R)R']],
  ['numpy.ndarray.tofile', ['cbuiltins\ngetattr\n', tuple('cnumpy\nndarray\n', text('tofile')), 'R)R']],
  ['x\\u001b[2J.y', ['cx\x1b[2J\ny\n)R']],
];
for (const [i, [name, parts]] of calls.entries()) {
  const expected = new RegExp(`its pickle calls ${name.replace(/[.[\\]/g, '\\$&')},`);
  const object = pickle(...parts);
  test(`call ${i} of ${name} in a zip`, refusal, () => inZip(object), 'ERR_CHECKPOINT_UNSAFE', expected);
  test(
    `call ${i} of ${name} in a legacy file`,
    refusal,
    () => legacy(object),
    'ERR_CHECKPOINT_UNSAFE',
    expected,
  );
  test(`call ${i} of ${name} at the front`, refusal, () => object, 'ERR_CHECKPOINT_UNSAFE', expected);
}

// Tensors of other kinds. The names are those that PyTorch 2.13 writes.
for (const [name, message] of [
  ['torch._utils\n_rebuild_qtensor', /quantised tensors, so save/],
  ['torch\nQInt8Storage', /quantised tensors/],
  ['torch._utils\n_rebuild_sparse_tensor', /sparse tensors, .*to_dense/],
  ['torch\nComplexFloatStorage', /complex tensors/],
  ['torch._utils\n_rebuild_tensor_v3', /float8, .*\.float\(\)/],
  ['torch._utils\n_rebuild_meta_tensor_no_storage', /meta device/],
] as const) {
  const object = pickle(`c${name}\n`);
  test(
    `${name.replace('\n', '.')} is unsupported`,
    refusal,
    () => inZip(object),
    'ERR_CHECKPOINT_UNSUPPORTED',
    message,
  );
}

// Pickles that eat memory or time.

const selfDict = concat('}q\0', text('state_dict'), 'h\0s', text('model'), 'h\0s');
const cases: [title: string, object: Buffer, code: RepVGGErrorCode, message: RegExp][] = [
  [
    'a dict within itself',
    pickle(selfDict),
    'ERR_CHECKPOINT_FORMAT',
    /a dict with the keys state_dict, model/,
  ],
  ['a list within itself', pickle(']q\0h\0a'), 'ERR_CHECKPOINT_FORMAT', /a list of 1/],
  [
    'a shape within itself',
    pickle(
      dict({
        x: concat(
          ']q\0h\0a',
          '0ctorch._utils\n_rebuild_tensor_v2\n',
          tuple(storage({length: 4, shape: []}), int(0), 'h\0', 'h\0'),
          'R',
        ),
      }),
    ),
    'ERR_CHECKPOINT_CORRUPT',
    /malformed tensor/,
  ],
  [
    'a dict with numbers for keys',
    pickle('}(K\x01NK\x02Nu'),
    'ERR_CHECKPOINT_FORMAT',
    /a dict with the keys 1 \(a number\), 2 \(a number\)\.$/,
  ],
  ['many nested tuples', pickle('N', '\x85'.repeat(9e5)), 'ERR_CHECKPOINT_FORMAT', /a list of 1/],
  ['a billion laughs', pickle('N', '2\x86'.repeat(4e5)), 'ERR_CHECKPOINT_FORMAT', /a list of 2/],
  [
    'two million values',
    pickle('(', 'N'.repeat(2e6), 't'),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /more than 1,000,000 values/,
  ],
  [
    'two million memos',
    pickle('N', '\x94'.repeat(2e6)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /more than 1,000,000 values/,
  ],
  [
    'copies of a large dict',
    pickle('](', 'NN\x86'.repeat(1e4), 'eq\0', 'ccollections\nOrderedDict\nh\0\x85R0'.repeat(1e3)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /more than 1,000,000 values/,
  ],
  [
    'copies of a large set',
    pickle('](', 'K\x01'.repeat(1e4), 'eq\0', 'c__builtin__\nset\nh\0\x85R0'.repeat(1e3)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /more than 1,000,000 values/,
  ],
  [
    'copies of bytes',
    pickle(text('x'.repeat(4096)), 'q\x000', 'c_codecs\nencode\nh\0\x85R0'.repeat(1e4)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /more than 1,000,000 values/,
  ],
  [
    'a name of two long texts',
    pickle(text('x'.repeat(512)), text('y'.repeat(513)), '\x93'),
    'ERR_CHECKPOINT_CORRUPT',
    /endless name/,
  ],
  [
    'a long key over and over',
    pickle(tuple(text('storage'), 'ctorch\nFloatStorage\n', text('x'.repeat(1e6)), 'N', int(1)), 'Q'),
    'ERR_CHECKPOINT_CORRUPT',
    /malformed reference/,
  ],
  ['more values taken than made', pickle('N(R'), 'ERR_CHECKPOINT_CORRUPT', /takes more values/],
  ['a group without a beginning', pickle('Nt'), 'ERR_CHECKPOINT_CORRUPT', /ends a group/],
  ['an unknown memo', pickle('h\x07'), 'ERR_CHECKPOINT_CORRUPT', /recalls a value/],
  [
    'a key without a value',
    pickle('}(', text('a'), 'u'),
    'ERR_CHECKPOINT_CORRUPT',
    /dict key without a value/,
  ],
  ['an item put into a number', pickle('K\x01Na'), 'ERR_CHECKPOINT_CORRUPT', /cannot hold it/],
  ['a call of a value', pickle('N)R'), 'ERR_CHECKPOINT_CORRUPT', /malformed call/],
  [
    'a call of a type',
    pickle('ctorch\nFloatStorage\n)R'),
    'ERR_CHECKPOINT_CORRUPT',
    /calls torch\.FloatStorage, which is a type/,
  ],
  ['an extension', pickle('\x82\x01'), 'ERR_CHECKPOINT_CORRUPT', /opcode 0x82 at byte/],
  ['a reference by text', pickle('Pstorage\n'), 'ERR_CHECKPOINT_CORRUPT', /opcode 0x50/],
  [
    'a tensor of no storage',
    pickle('ctorch._utils\n_rebuild_tensor_v2\n', tuple('N', int(0), ints([1]), ints([1])), 'R'),
    'ERR_CHECKPOINT_CORRUPT',
    /malformed tensor/,
  ],
];
for (const [title, object, code, message] of cases) {
  test(`${title} in a zip`, refusal, () => inZip(object), code, message);
  test(`${title} in a legacy file`, refusal, () => torchLegacy(object, {}), code, message);
}

test(
  'a protocol version that would be a text without end',
  refusal,
  () => concat(legacyMagic, pickle('N', '2\x86'.repeat(40))),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /expected PyTorch's legacy protocol 1001 but found none/,
);
