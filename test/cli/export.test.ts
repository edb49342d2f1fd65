import {readFileSync} from 'node:fs';
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {digits} from '../../ts/digits.ts';
import {checkpoint} from '../fixtures.ts';
import {jsonLines, repvgg, temporaryFolder} from './run.ts';

test('the ending of the file says what it is', async t => {
  const folder = await temporaryFolder(t);
  const onnx = join(folder, 'digits.onnx');
  const {code, stdout, stderr} = await repvgg(['export', 'digits', onnx, '--precision', 'fp16']);
  const {input} = JSON.parse((await repvgg(['info', onnx, '--json'])).stdout);
  t.deepEqual(input, {height: digits.preprocessing.crop, width: digits.preprocessing.crop});
  t.like({code, stderr}, {code: 0, stderr: ''});
  t.is(
    stdout,
    `custom RepVGG: ONNX opset 17, fp16
input   "input", float32 N x 3 x 32 x 32, normalised
output  "logits", float32 N x 10
wrote ${onnx} (${readFileSync(onnx).length.toLocaleString('en-US')} bytes)
`,
  );
  const [exported, converted] = [join(folder, 'a.pth'), join(folder, 'b.pth')];
  const train = checkpoint('narrow.timm.zip.pth');
  t.like(jsonLines(await repvgg(['export', train, exported, '--json']))[0], {storedForm: 'train'});
  t.is((await repvgg(['convert', train, converted])).code, 0);
  t.true(readFileSync(exported).equals(readFileSync(converted)));
});

for (const [what, args, message] of [
  [
    'an unknown ending',
    ['digits', 'digits.h5'],
    /^repvgg: Expected a file that ends in .* but received 'digits\.h5'/,
  ],
  [
    'an option of ONNX for PyTorch',
    ['digits', 'a.pth', '--uint8'],
    /^repvgg: Option '--uint8' applies only to \.onnx files/,
  ],
  [
    'a precision that ONNX files are not written in',
    ['digits', 'a.onnx', '--precision', 'bf16'],
    /Allowed choices are fp32, fp16/,
  ],
  [
    'a mean that is no colour',
    ['digits', 'a.onnx', '--mean', '0.5,0.5'],
    /three numbers separated by commas/,
  ],
] as const) {
  test(`${what} is wrong usage, and nothing is written`, async t => {
    const folder = await temporaryFolder(t);
    const {code, stderr} = await repvgg(['export', ...args], {cwd: folder});
    t.is(code, 2);
    t.regex(stderr, message);
    t.deepEqual(await readdir(folder), []);
  });
}
