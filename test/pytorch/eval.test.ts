/** What `repvgg eval` counts against what PyTorch does: the same lines, and the same likeliest class of every image. */
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import type {ExecutionContext} from 'ava';
import {digits} from '../../ts/digits.ts';
import {RepVGG} from '../../ts/model.ts';
import type {Form} from '../../ts/network.ts';
import {jsonLines, repvgg, temporaryFolder} from '../cli/run.ts';
import {runPython, testWithPython} from './python.ts';

interface Summary {
  line: string;
  loss: number;
  /** By the path of the image. */
  predicted: Record<string, number>;
  smallestLead: number;
}

async function compare(
  t: ExecutionContext,
  data: string,
  images: string,
  checkpoint: string,
  expected: Summary,
) {
  const names = Object.keys(expected.predicted);
  const files = names.map(name => join(images, name));
  t.log(
    `${names.length} images, of which the closest call is one of ${expected.smallestLead.toExponential(1)} between logits`,
  );
  for (const form of ['train', 'deploy'] satisfies Form[]) {
    const args = ['eval', data, '--checkpoint', checkpoint, '--form', form, '--precision', 'fp32'];
    const {stdout, code} = await repvgg(args);
    t.is(code, 0);
    t.is(stdout.trimEnd().split('\n').at(-1), expected.line);
    const [{loss}] = jsonLines<{loss: number}>(await repvgg([...args, '--json'])) as [{loss: number}];
    t.true(Math.abs(loss - expected.loss) < 1e-4, `${loss} and ${expected.loss}`);
    await using model = await RepVGG.load(checkpoint, {form, precision: 'fp32'});
    const predictions = await model.classify(files, {topK: 1});
    t.deepEqual(
      Object.fromEntries(predictions.map(([top], i) => [names[i], top!.index])),
      expected.predicted,
    );
    t.log(`${form}:${expected.line}`);
  }
}

testWithPython('eval counts what PyTorch counts', async t => {
  const folder = await temporaryFolder(t);
  const expected = await runPython<{digits: Summary; photographs: Summary}>('evaluate.py', folder);
  t.is(Object.keys(expected.digits.predicted).length, (await readdir(digits.images)).length);
  await compare(t, 'digits', digits.images, 'digits', expected.digits);
  t.is(Object.keys(expected.photographs.predicted).length, 200);
  await compare(t, folder, join(folder, 'val'), join(folder, 'RepVGG-A0.pth'), expected.photographs);
});
