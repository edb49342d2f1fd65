/** Exported models in the hands of ONNX's own checker and of onnxruntime. */
import {join} from 'node:path';
import {exportOnnx} from '../../ts/export.ts';
import {RepVGG} from '../../ts/model.ts';
import {temporaryFolder} from '../cli/run.ts';
import {checkpoint, expected, photos} from '../fixtures.ts';
import {relativeL2} from '../reference64.ts';
import {runPython, testWithPython} from './python.ts';

interface Checked {
  opset: number;
  nodes: string[];
  input: [string, (string | number)[]];
  logits: number[][];
  largestBatchDifference: number;
}

for (const name of ['narrow.official.zip.pth', 'squeeze-excite.zip.pth', 'plus.zip.pth', 'backbone.zip.pth'])
  testWithPython(`onnxruntime gives the outputs of an exported ${name}`, async t => {
    const {preprocessing} = expected;
    const [from, to] = [checkpoint(name), join(await temporaryFolder(t), 'model.onnx')];
    await using model = await RepVGG.load(from, {preprocessing, precision: 'fp32'});
    const rows = await (model.labels.length > 0 ? model.logits(photos) : model.embed(photos));
    const own = Float64Array.from(rows.flatMap(row => [...row]));
    for (const precision of ['fp32', 'fp16'] as const) {
      for (const uint8 of [false, true]) {
        await exportOnnx(from, to, {precision, uint8, preprocessing});
        const checked = await runPython<Checked>('check_onnx.py', to, ...photos);
        t.is(checked.opset, 17);
        const {crop} = preprocessing;
        t.deepEqual(
          checked.input,
          uint8 ? ['tensor(uint8)', ['N', crop, crop, 3]] : ['tensor(float)', ['N', 3, crop, crop]],
        );
        const error = relativeL2(Float64Array.from(checked.logits.flat()), own);
        t.log(`${precision}${uint8 ? ', uint8' : ''}: relative L2 ${error.toExponential(1)}`);
        t.true(error < (precision === 'fp32' ? 1e-5 : 5e-3));
        t.true(checked.largestBatchDifference < 1e-2);
      }
    }
  });
