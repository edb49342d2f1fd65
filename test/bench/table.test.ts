import test from 'ava';
import {notes} from '../../ts/bench/table.ts';
import {reportOf, result} from './results.ts';

const shares = (...results: ReturnType<typeof result>[]): string[] =>
  notes(reportOf(results)).filter(line => line.includes('slower stage'));

test('a pipeline is held against the slower of decoding and its own engine', t => {
  const decode = result(400, {stage: 'decode', model: null, batch: 1, precision: 'uint8'});
  const others = [
    result(999, {batch: 1}),
    result(999, {precision: 'bf16'}),
    result(1, {runner: 'pytorch-eager'}),
  ];
  const pipeline = result(90, {stage: 'pipeline'});
  t.deepEqual(shares(...others, decode, result(100), pipeline), [
    'RepVGG-A0 pipeline: 0.90 of its slower stage, engine',
  ]);
  t.deepEqual(shares(decode, result(800), result(200, {stage: 'pipeline'})), [
    'RepVGG-A0 pipeline: 0.50 of its slower stage, decode',
  ]);
  t.deepEqual(shares(...others, decode, pipeline), [], 'no engine of the same batch and precision');
  t.deepEqual(shares(result(100), pipeline), [], 'no decoding');
});
