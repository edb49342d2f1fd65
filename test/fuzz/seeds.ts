/** Small files of every format, so that most mutations hit structure and not weights. */
import {defineArchitecture} from '../../ts/architecture.ts';
import {namesKey, preprocessingKey} from '../../ts/checkpoint/use_metadata.ts';
import {
  concat,
  dict,
  field,
  floats,
  int,
  list,
  onnx,
  onnxNode,
  onnxTensor,
  pickle,
  safetensors,
  tensor,
  text,
  torchLegacy,
  torchZip,
  tuple,
} from '../checkpoint/build.ts';
import {array, parameter, tar, torchTar} from '../checkpoint/build_others.ts';
import {stateDict} from '../checkpoints.ts';

export interface Seed {
  name: string;
  format: string;
  bytes: Buffer;
  /** Text, as latin1, that means something in the format. */
  tokens: readonly string[];
  /** Puts right what would make all other damage go unnoticed. May write to the buffer. */
  repair?: (bytes: Buffer) => Buffer;
}

const object = pickle(
  dict({
    epoch: int(7),
    state_dict: dict({
      'module.a': tensor({length: 6, shape: [2, 3], stride: [1, 2]}),
      'module.b': tensor({key: '1', type: 'HalfStorage', length: 4, offset: 1, shape: [3]}),
    }),
    losses: list(tuple(text('x'), 'G?\xf0\0\0\0\0\0\0'), '\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19'),
  }),
);
const a = floats(1, 2, 3, 4, 5, 6);
const b = Buffer.alloc(8, 0x3c);
/** Checksums would let no damaged pickle be read. */
const unchecked = {crc: 0};

const pickleTokens = [
  'cos\nsystem\n(X\x02\0\0\0lstR.',
  'cbuiltins\neval\n',
  'c__builtin__\nexec\n',
  'R',
  'b',
  '}',
  ']',
  ')',
  '(',
  't',
  'u',
  'e',
  '.',
  '0',
  'q\0',
  'h\0',
  'r\xff\xff\xff\x7f',
  'j\xff\xff\xff\xff',
  'X\xff\xff\xff\x7f',
  '\x8d\xff\xff\xff\xff\xff\xff\xff\x7f',
  'K\x01',
  'J\xff\xff\xff\xff',
  '\x8a\xff',
  'ccollections\nOrderedDict\n)R',
  'ctorch._utils\n_rebuild_tensor_v2\n',
  'ctorch\nFloatStorage\n',
  'ctorch\nSize\n',
  'c_codecs\nencode\n',
  'Q',
  '2',
  '\x85',
  '\x86',
  '\x87',
  '\x94',
  '\x93',
  '\x95\0\0\0\0\0\0\0\0',
  'N',
  '\x88',
  'ctorch.nn.modules.conv\nConv2d\n)\x81',
  'ctorch._dynamo.eval_frame\nOptimizedModule\n',
  'ctorch._tensor\n_rebuild_from_type_v2\n',
  'ctorch._utils\n_rebuild_wrapper_subclass\n',
  'ctorch._utils\n_rebuild_parameter\n',
];
const zipTokens = [
  ...pickleTokens,
  'PK\x03\x04',
  'PK\x01\x02',
  'PK\x05\x06',
  'PK\x06\x06',
  'PK\x06\x07',
  '../',
  'archive/data.pkl',
  '\x01\0\x10\0',
];
const jsonTokens = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0000',
  '\\"',
  'null',
  '1e400',
  '-1',
  '9223372036854775808',
  '"__metadata__":{}',
  '"dtype":"F32"',
  '"BF16"',
  '"shape":[]',
  '"data_offsets":[0,0]',
  '"x":',
  '"weight_map"',
  '{"":',
  '[[[[[[[[',
  ' ',
];
const protobufTokens = [
  '\x08',
  '\x0a',
  '\x12',
  '\x1a',
  '\x2a',
  '\x3a',
  '\x4a',
  '\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01',
  '\x80\x80\x80\x80\x80\x80',
  '\x0a\0',
  'Conv',
  'Add',
  'Identity',
  'Float32',
  'location',
];
const arrayTokens = [
  ...pickleTokens,
  'cnumpy.core.multiarray\n_reconstruct\n',
  'cnumpy\nndarray\n',
  'cnumpy\ndtype\n',
  'cnumpy.core.numeric\n_frombuffer\n',
];

/** The smallest network there is, fused: one channel in each of five blocks. */
const tiny = stateDict(
  {
    ...defineArchitecture({numBlocks: [1, 1, 1, 1], widthMultiplier: [1, 1, 1, 1]}),
    widths: [1, 1, 1, 1, 1],
    numClasses: 2,
    name: 'custom',
  },
  'official',
  'deploy',
);

function tinySafetensors(): Buffer {
  const header: Record<string, object> = {};
  let end = 0;
  for (const {name, shape} of tiny) {
    const begin = end;
    end += 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = {dtype: 'F32', shape, data_offsets: [begin, end]};
  }
  return safetensors(header, Buffer.alloc(end, floats(0.5)));
}

const mixedHeader = {
  __metadata__: {format: 'pt'},
  'module.a': {dtype: 'F16', shape: [2, 1], data_offsets: [0, 4]},
  b: {dtype: 'F64', shape: [], data_offsets: [4, 12]},
  c: {dtype: 'BOOL', shape: [0], data_offsets: [12, 12]},
};

function tinyOnnx(branches: boolean): Buffer {
  const down = {strides: [2, 2], pads: [1, 1, 1, 1], group: 1};
  const nodes: Buffer[] = [];
  const tensors: Buffer[] = [];
  let features = 'x';
  for (let i = 0; i < 5; i++) {
    const channels = i === 0 ? 3 : 1;
    tensors.push(
      onnxTensor(`w${i}`, [1, channels, 3, 3], Array(9 * channels).fill(0.5)),
      onnxTensor(`b${i}`, [1], [0.5]),
    );
    nodes.push(onnxNode('Conv', [features, `w${i}`, `b${i}`], `c${i}`, down));
    let sum = `c${i}`;
    if (branches) {
      tensors.push(onnxTensor(`p${i}`, [1, channels, 1, 1], Array(channels).fill(0.5)));
      nodes.push(onnxNode('Conv', [features, `p${i}`], `q${i}`, {strides: [2, 2]}));
      nodes.push(
        onnxNode('BatchNormalization', [`q${i}`, 'b0', 'b0', 'b0', 'b0'], `n${i}`, {epsilon: {float: 1e-3}}),
      );
      nodes.push(onnxNode('Add', [`c${i}`, `n${i}`], `s${i}`));
      sum = `s${i}`;
    }
    nodes.push(onnxNode('Relu', [sum], `r${i}`));
    features = `r${i}`;
  }
  tensors.push(onnxTensor('lw', [2, 1], [1, 2]), onnxTensor('lb', [2], [1, 2]));
  nodes.push(
    onnxNode('GlobalAveragePool', [features], 'p'),
    onnxNode('Identity', ['p'], 'i'),
    onnxNode('Flatten', ['i'], 'f'),
  );
  nodes.push(onnxNode('Gemm', ['f', 'lw', 'lb'], 'y', {transB: 1}));
  return onnx(nodes, tensors);
}

/** Makes the length of a header what it is where the data have kept theirs. */
const repairLength =
  (dataBytes: number) =>
  (bytes: Buffer): Buffer => {
    if (bytes.length >= 8 + dataBytes) bytes.writeBigUInt64LE(BigInt(bytes.length - 8 - dataBytes));
    return bytes;
  };

/** Sums up the headers of a tar again. */
function repairTar(bytes: Buffer): Buffer {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    bytes.write(' '.repeat(8), at + 148, 'latin1');
    const sum = bytes.subarray(at, at + 512).reduce((x, y) => x + y, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
  return bytes;
}

const mindSpore = concat(
  parameter(),
  parameter({name: 'y', dims: [2, 1], type: 'Float16', content: Buffer.alloc(4)}),
);
const arrays = pickle(
  dict({
    x: array(),
    y: array({shape: [2, 2], columnMajor: true}),
    'StructuredToParameterName@@': dict({x: text('y')}),
  }),
);
const preprocessing = JSON.stringify({
  resize: 256,
  crop: 224,
  mean: [0.5, 0.5, 0.5],
  interpolation: 'bicubic',
});
const preprocessingTokens = ['null', '"', '{', '}', '1e400', '-1', '[]', '"std":[0,0,0]', '"__proto__":{}'];

const onnxWithData = onnx(
  [onnxNode('Conv', ['x', 'w'], 'y')],
  [
    onnxTensor('w', [1, 3, 3, 3], {
      fields: [field(14, 1), field(13, concat(field(1, 'location'), field(2, 'w.data')))],
    }),
  ],
);

/** Modules within a compiled one, in a training checkpoint. */
function modules(): Buffer {
  const module = (parts: Record<string, Buffer>, within: Record<string, Buffer>): Buffer => {
    const state = {_parameters: dict(parts), _buffers: '}', _modules: dict(within)};
    return concat('cmy\nNet\n)\x81', dict(state), 'b');
  };
  const weight = tensor({length: 6, shape: [6]});
  const compiled = concat(
    'ctorch._dynamo.eval_frame\nOptimizedModule\n',
    tuple(module({weight}, {_orig_mod: module({bias: weight, mean: weight}, {})}), concat('N')),
    'R',
  );
  return pickle(dict({net: compiled, ema: 'N', epoch: int(3)}));
}

export const seeds: readonly Seed[] = [
  {
    name: 'zip',
    format: 'zip',
    bytes: torchZip(object, {0: a, 1: b}, {'data.pkl': unchecked, 'data/0': unchecked, 'data/1': unchecked}),
    tokens: zipTokens,
  },
  {
    name: 'zip of modules',
    format: 'zip',
    bytes: torchZip(modules(), {0: a}, {'data.pkl': unchecked, 'data/0': unchecked}),
    tokens: zipTokens,
  },
  {
    name: 'deflated zip',
    format: 'zip',
    bytes: torchZip(
      object,
      {0: a, 1: b},
      {'data.pkl': {...unchecked, deflate: true}, 'data/0': {...unchecked, deflate: true}},
    ),
    tokens: zipTokens,
  },
  {
    name: 'legacy',
    format: 'legacy',
    bytes: torchLegacy(object, {0: {bytes: a, length: 6}, 1: {bytes: b, length: 4}}),
    tokens: pickleTokens,
  },
  {name: 'tar', format: 'tar', bytes: torchTar(), tokens: pickleTokens, repair: repairTar},
  {
    name: 'empty tar',
    format: 'tar',
    bytes: tar([{name: 'pickle', data: pickle('}')}]),
    tokens: pickleTokens,
    repair: repairTar,
  },
  {name: 'arrays', format: 'pickle', bytes: arrays, tokens: arrayTokens},
  {
    name: 'safetensors',
    format: 'safetensors',
    bytes: safetensors(mixedHeader, Buffer.alloc(12)),
    tokens: jsonTokens,
    repair: repairLength(12),
  },
  {
    name: 'network in safetensors',
    format: 'safetensors',
    bytes: tinySafetensors(),
    tokens: jsonTokens,
    repair: repairLength(4 * 81),
  },
  {
    name: 'index',
    format: 'index',
    bytes: Buffer.from(
      '{"metadata": {"total_size": 8}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
    ),
    tokens: jsonTokens,
  },
  {
    name: 'ONNX',
    format: 'onnx',
    bytes: concat(
      tinyOnnx(false),
      field(14, concat(field(1, preprocessingKey), field(2, preprocessing))),
      field(14, concat(field(1, namesKey), field(2, '{0: \'a\', 1: "b\\\\x41"}'))),
    ),
    tokens: [...protobufTokens, ...preprocessingTokens],
  },
  {name: 'ONNX with branches', format: 'onnx', bytes: tinyOnnx(true), tokens: protobufTokens},
  {name: 'ONNX with external data', format: 'onnx', bytes: onnxWithData, tokens: protobufTokens},
  {name: 'MindSpore', format: 'mindspore', bytes: mindSpore, tokens: protobufTokens},
];
