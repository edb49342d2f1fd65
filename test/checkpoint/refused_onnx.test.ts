/** Files that begin as ONNX and are not, or are other networks. */
import test from 'ava';
import type {RepVGGErrorCode} from '../../ts/errors.ts';
import {concat, field, onnx, onnxNode, onnxTensor, varint} from './build.ts';
import {refusal} from './refusal.ts';

const down = {strides: [2, 2], pads: [1, 1, 1, 1]};
const w = onnxTensor('w', [1, 3, 3, 3], Array(27).fill(1));
const conv = onnxNode('Conv', ['x', 'w'], 'c', down);
const external = (entries: Record<string, string>): Buffer =>
  onnxTensor('w', [1, 3, 3, 3], {
    fields: [
      field(14, 1),
      ...Object.entries(entries).map(([key, value]) => field(13, concat(field(1, key), field(2, value)))),
    ],
  });
const withWeight = (tensor: Buffer): Buffer => onnx([conv], [tensor]);

const cases: [what: string, bytes: () => Buffer, code: RepVGGErrorCode, message: RegExp][] = [
  [
    'a node that takes what is made later',
    () => onnx([onnxNode('Identity', ['b'], 'a'), onnxNode('Identity', ['a'], 'b')], []),
    'ERR_CHECKPOINT_CORRUPT',
    /takes b, which nothing before it makes/,
  ],
  [
    'a node that takes its own output',
    () => onnx([onnxNode('Add', ['x', 'a'], 'a')], []),
    'ERR_CHECKPOINT_CORRUPT',
    /takes a, which nothing/,
  ],
  [
    'a node without an output',
    () => {
      const layers = Array.from({length: 5}, (_, i) => [
        onnxNode('Conv', [i === 0 ? 'x' : `r${i - 1}`, i === 0 ? 'w' : 'v'], `c${i}`, down),
        onnxNode('Relu', [`c${i}`], `r${i}`),
      ]);
      const end = concat(field(1, 'r4'), field(4, 'GlobalAveragePool'));
      return onnx([...layers.flat(), end], [w, onnxTensor('v', [1, 1, 3, 3], Array(9).fill(1))]);
    },
    'ERR_CHECKPOINT_CORRUPT',
    /a node GlobalAveragePool makes nothing/,
  ],
  [
    'an output that is made twice',
    () => onnx([onnxNode('Relu', ['x'], 'a'), onnxNode('Relu', ['x'], 'a')], []),
    'ERR_CHECKPOINT_CORRUPT',
    /a is made twice/,
  ],
  ['two tensors of one name', () => onnx([conv], [w, w]), 'ERR_CHECKPOINT_CORRUPT', /two tensors named w/],
  [
    'two graphs',
    () => concat(onnx([conv], [w]), field(7, Buffer.alloc(0))),
    'ERR_CHECKPOINT_CORRUPT',
    /its model has 2 graphs/,
  ],
  [
    'no input',
    () => onnx([conv], [w, onnxTensor('x', [1], [1])]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /it has 0 inputs/,
  ],
  ['no graph', () => concat(field(1, 8), field(2, 'x')), 'ERR_CHECKPOINT_CORRUPT', /has 0 graphs/],
  [
    'a tensor with too few bytes',
    () => withWeight(onnxTensor('w', [1, 3, 3, 3], [1])),
    'ERR_CHECKPOINT_CORRUPT',
    /has 4 bytes, not 108/,
  ],
  [
    'a shape beyond all numbers',
    () => withWeight(onnxTensor('w', Array(64).fill(2n ** 62n), [1])),
    'ERR_CHECKPOINT_CORRUPT',
    /not Infinity/,
  ],
  [
    'a dimension of 2^63',
    () => withWeight(onnxTensor('w', [2n ** 63n, 3, 3, 3], [1])),
    'ERR_CHECKPOINT_CORRUPT',
    /a negative size/,
  ],
  [
    '65 dimensions',
    () => withWeight(onnxTensor('w', Array(65).fill(1), [1])),
    'ERR_CHECKPOINT_CORRUPT',
    /a list of more than 64 numbers/,
  ],
  [
    'a field longer than the file',
    () => concat(field(1, 8), varint((7 << 3) | 2), varint(2n ** 63n)),
    'ERR_CHECKPOINT_TRUNCATED',
    /a field of 9223372036854775808 bytes/,
  ],
  [
    'a number without an end',
    () => concat(field(1, 8), field(2, 'x'), Buffer.alloc(20, 0xff)),
    'ERR_CHECKPOINT_CORRUPT',
    /a number without an end/,
  ],
  [
    'a tensor of complex numbers',
    () => withWeight(onnxTensor('w', [1, 3, 3, 3], [1], 14)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /ONNX's data type 14/,
  ],
  [
    'a tensor in other fields than raw data',
    () => withWeight(onnxTensor('w', [1, 3, 3, 3], {fields: [field(5, Buffer.alloc(27))]}, 10)),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /is not stored as raw data/,
  ],
  [
    'a tensor in two pieces',
    () => withWeight(concat(w, field(9, Buffer.alloc(108)))),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /in several pieces/,
  ],
  [
    'quantised weights',
    () => onnx([onnxNode('DequantizeLinear', ['x'], 'd'), onnxNode('Conv', ['x', 'd'], 'c', down)], []),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /its weight d is computed by DequantizeLinear/,
  ],
  [
    'normalisation before the network',
    () => onnx([onnxNode('Sub', ['x', 'w'], 's')], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /its input goes into Sub, not into a 3x3 convolution/,
  ],
  [
    'another stride',
    () => onnx([onnxNode('Conv', ['x', 'w'], 'c', {...down, strides: [2, 1]})], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /strides \[2, 1\]/,
  ],
  [
    'a stride of 3',
    () => onnx([onnxNode('Conv', ['x', 'w'], 'c', {...down, strides: [3, 3]})], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /strides \[3, 3\], which no RepVGG has/,
  ],
  [
    'no padding',
    () => onnx([onnxNode('Conv', ['x', 'w'], 'c', {strides: [2, 2]})], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /padding \[0, 0, 0, 0\]/,
  ],
  [
    'a kernel for other channels',
    () => withWeight(onnxTensor('w', [1, 2, 3, 3], Array(18).fill(1))),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /a kernel of \[1, 2, 3, 3\] for 3 channels/,
  ],
  [
    'another activation',
    () => onnx([conv, onnxNode('Sigmoid', ['c'], 'y')], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /c goes into Sigmoid/,
  ],
  [
    'an operator of another domain',
    () => onnx([conv, concat(onnxNode('Relu', ['c'], 'y'), field(7, 'evil'))], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /c goes into evil\.Relu/,
  ],
  [
    'branches that are not added',
    () =>
      onnx(
        [conv, onnxNode('Conv', ['x', 'p'], 'q', {strides: [2, 2]}), onnxNode('Concat', ['c', 'q'], 'y')],
        [w, onnxTensor('p', [1, 3, 1, 1], [1, 1, 1])],
      ),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /the branches of the block behind x are not added up/,
  ],
  [
    'one block',
    () => onnx([conv, onnxNode('Relu', ['c'], 'y')], [w]),
    'ERR_CHECKPOINT_UNSUPPORTED',
    /1 blocks of strides 2, where five have 2/,
  ],
  [
    'external data without a name',
    () => withWeight(external({})),
    'ERR_CHECKPOINT_UNSAFE',
    /where only files of its own folder/,
  ],
  [
    'external data elsewhere',
    () => withWeight(external({location: '../secret'})),
    'ERR_CHECKPOINT_UNSAFE',
    /names the file \.\.\/secret/,
  ],
  [
    'external data at an absolute path',
    () => withWeight(external({location: '/etc/passwd'})),
    'ERR_CHECKPOINT_UNSAFE',
    /names the file \/etc\/passwd/,
  ],
];
for (const [what, bytes, code, message] of cases) test(`ONNX with ${what}`, refusal, bytes, code, message);
