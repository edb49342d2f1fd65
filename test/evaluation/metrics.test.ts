import test from 'ava';
import {confusedPairs, drawConfusion} from '../../ts/evaluation/confusion.ts';
import {Counts, Meter, outcomeOf} from '../../ts/evaluation/metrics.ts';
import {classMetrics, macroAverages} from '../../ts/evaluation/per_class.ts';

test('rank and loss of the true class', t => {
  const logits = Float32Array.of(1, 3, 2, 0, -1, 5, 4);
  t.like(outcomeOf(logits, 5), {predicted: 5, rank: 0});
  t.like(outcomeOf(logits, 0), {predicted: 5, rank: 4});
  t.like(outcomeOf(logits, 3), {predicted: 5, rank: 5});
  // As torch.nn.functional.cross_entropy gives it.
  const {loss} = outcomeOf(logits, 0);
  const sum = [...logits].reduce((total, value) => total + Math.exp(value), 0);
  t.true(Math.abs(loss - (Math.log(sum) - 1)) < 1e-12);
  t.true(outcomeOf(Float32Array.of(1000, 0), 1).loss === 1000);
});

test('equal logits count in the order of their classes, and logits that are not finite are wrong', t => {
  t.is(outcomeOf(Float32Array.of(1, 1), 0).rank, 0);
  t.is(outcomeOf(Float32Array.of(1, 1), 1).rank, 1);
  t.is(outcomeOf(new Float32Array(10).fill(Number.NaN), 0).rank, 9);
  t.is(outcomeOf(Float32Array.of(Number.NaN, 1), 1).rank, 1);
});

test('of the images, those are right whose class is the likeliest, or among the five likeliest', t => {
  const counts = new Counts();
  t.deepEqual([counts.images, counts.top1, counts.top5], [0, 0, 0]);
  for (const rank of [0, 4, 5, 9]) counts.add(rank);
  t.deepEqual([counts.images, counts.top1, counts.top5], [4, 25, 50]);
});

test('a meter weighs batches by their images', t => {
  const meter = new Meter();
  t.is(meter.average, 0);
  meter.add(100, 3);
  meter.add(0, 1);
  t.deepEqual([meter.value, meter.average], [0, 75]);
});

test("precision, recall and F1 of each class, and their means over those that occur, are scikit-learn's", t => {
  // By precision_recall_fscore_support(average=None and 'macro', zero_division=0) of scikit-learn 1.9.1. Nothing is of the last class
  // or taken for it, so that scikit-learn does not know it.
  const classes = classMetrics(
    [
      [5, 2, 0, 1],
      [0, 7, 0, 0],
      [3, 1, 0, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ].map(row => Uint32Array.of(...row, 0)),
  );
  const close = (actual: number, expected: number): boolean =>
    t.true(Math.abs(actual - 100 * expected) < 1e-9);
  const expected = {
    precision: [0.625, 0.7, 0, 0],
    recall: [0.625, 1, 0, 0],
    f1: [0.625, 0.823529411764706, 0, 0],
  };
  for (const field of ['precision', 'recall', 'f1'] as const)
    for (const [i, value] of expected[field].entries()) close(classes[i]![field], value);
  t.deepEqual(
    classes.map(({images, predictions}) => [images, predictions]),
    [
      [8, 8],
      [7, 10],
      [4, 0],
      [0, 1],
      [0, 0],
    ],
  );
  const {precision, recall, f1} = macroAverages(classes);
  close(precision, 0.33125);
  close(recall, 0.40625);
  close(f1, 0.36213235294117646);
});

test('a confusion matrix is drawn with its numbers, and the most confused come first', t => {
  const matrix = [Uint32Array.of(5, 2, 0), Uint32Array.of(0, 7, 0), Uint32Array.of(3, 1, 0)];
  t.deepEqual(confusedPairs(matrix), [
    {truth: 2, predicted: 0, count: 3},
    {truth: 0, predicted: 1, count: 2},
    {truth: 2, predicted: 1, count: 1},
  ]);
  const svg = drawConfusion(
    matrix,
    [{label: 'cat'}, {label: '<dog>'}, {label: 'fox, red fox'}],
    'net & data',
  );
  t.true(svg.includes('>net &amp; data<'));
  t.true(svg.includes('>fox taken for cat: 3 of 4<'));
  t.true(svg.includes('>cat taken for &lt;dog&gt;: 2 of 7<'));
  const cells = Array.from(svg.matchAll(/text-anchor="middle"[^>]*>(\d+)</g), ([, count]) => Number(count));
  t.deepEqual(cells, [5, 2, 7, 3, 1]);
});

test('a matrix of a thousand classes is some paths, not a million cells', t => {
  const matrix = Array.from({length: 1000}, (_, i) => {
    const row = new Uint32Array(1000);
    row[i] = 40;
    row[(7 * i) % 1000]! += 10;
    return row;
  });
  const svg = drawConfusion(
    matrix,
    matrix.map((_, i) => ({label: `class ${i}`})),
    'ImageNet',
  );
  t.true(svg.length < 200_000);
  t.true(svg.match(/<path /g)!.length <= 16);
});
