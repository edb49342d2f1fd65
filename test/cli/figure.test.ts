import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import {architectureByName, defineArchitecture} from '../../ts/architecture.ts';
import {drawNetwork} from '../../ts/cli/figure.ts';
import {repvgg, temporaryFolder} from './run.ts';

const texts = (svg: string): string[] =>
  Array.from(svg.matchAll(/<text [^>]*>([^<]*)</g), ([, text]) => text!);
const count = (list: readonly string[], wanted: string): number =>
  list.filter(text => text === wanted).length;

test('every run of blocks is drawn once in both forms, with an identity only where there is one', t => {
  const svg = drawNetwork(architectureByName('B1g4'), 224, 'RepVGG-B1g4-train.pth');
  const labels = texts(svg);
  for (const [label, times] of [
    ['3x3, BN', 8],
    ['1x1, BN', 8],
    ['BN', 3],
    ['3x3, bias', 8],
    ['ReLU', 16],
    ['linear', 2],
    ['stage3.1 to 15', 1],
    ['15 ×', 2],
    ['groups 4 and 1 in turn', 3],
    ['39,966,056 parameters', 1],
    ['36,125,416 parameters', 1],
  ] as const)
    t.is(count(labels, label), times, label);
  const counts = [...svg.matchAll(/<text x="(\d+)" y="([\d.]+)"[^>]*>\d+ ×</g)].filter(
    ([, x]) => Number(x) > 600,
  );
  t.is(counts.length, 3);
  for (const [, x, y] of counts) {
    const [, end] = svg.match(new RegExp(`,${Number(y) - 5} H(\\d+)" [^>]*stroke-dasharray`))!;
    t.true(Number(end) < Number(x) - 20, `a line goes to ${end} through a text around ${x}`);
  }
});

test("squeeze-and-excite has its place, a backbone no linear layer, and a file's name is text", t => {
  const shape = {numBlocks: [1, 1, 1, 1], widthMultiplier: [0.25, 0.25, 0.25, 0.25]} as const;
  const order = (position: 'before-relu' | 'after-relu'): string[] => {
    const architecture = defineArchitecture({
      ...shape,
      numClasses: 0,
      squeezeExcite: {position, reduction: 4},
    });
    const svg = drawNetwork(architecture, 64, '<b>&"\u0007');
    t.true(svg.includes('>&lt;b&gt;&amp;&quot; <'));
    t.is(count(texts(svg), 'linear'), 0);
    return texts(svg)
      .filter(text => text === 'SE' || text === 'ReLU')
      .slice(0, 2);
  };
  t.deepEqual(order('before-relu'), ['SE', 'ReLU']);
  t.deepEqual(order('after-relu'), ['ReLU', 'SE']);
});

test('info --svg writes a picture of the checkpoint that can be drawn', async t => {
  const file = join(await temporaryFolder(t), 'digits.svg');
  const {code, stdout} = await repvgg(['info', 'digits', '--svg', file]);
  t.is(code, 0);
  t.true(stdout.endsWith(`\nwrote ${file}\n`));
  const labels = texts(await readFile(file, 'utf8'));
  t.deepEqual([labels[0], count(labels, '164,650 parameters'), count(labels, '3x3, BN')], ['digits', 1, 7]);
  const {width, channels} = await sharp(file).metadata();
  t.is(width, 980);
  const {channels: statistics} = await sharp(file).stats();
  t.true(channels! >= 3 && statistics.some(({stdev}) => stdev > 10));
});
