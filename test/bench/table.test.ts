import test from 'ava';
import type {BenchReport} from '../../ts/bench/results.ts';
import {latencyTable, notes, resultTable} from '../../ts/bench/table.ts';
import {reportOf, result} from './results.ts';

const shares = (...results: ReturnType<typeof result>[]): string[] =>
  notes(reportOf(results)).filter(line => line.includes('slower stage'));

test('peaks are those of the device that ran, by its name', t => {
  const of = (report: BenchReport, instructionSet = 'avx512'): string => {
    report.limits.instructionSet = instructionSet;
    report.machine.gpus = ['GPU X', 'GPU Y'];
    report.limits.matrixTflops = 500;
    return notes(report)[0]!;
  };
  t.regex(of(reportOf([result(100)])), /^A <fast> CPU, 2 of 2 cores; .* fp32 avx512 200 .*bf16 products 500/);
  const decode = result(400, {stage: 'decode', model: null, precision: 'uint8'});
  const gpu = result(9000, {device: 'cuda:1', precision: 'fp16'});
  t.regex(
    of(reportOf([decode, gpu]), 'sm_90, wgmma'),
    /^GPU Y \(cuda:1\); .*: sm_90, fp32 multiply-adds 200 .*fp16 products by wgmma 500/,
  );
  const both = result(9000, {device: 'cuda:0,cuda:1', precision: 'fp16'});
  t.regex(of(reportOf([both]), 'sm_90, wgmma'), /^GPU X \(cuda:0\), GPU Y \(cuda:1\); /);
});

test('how much the logits of a peer differ stands in its row, where there is one', t => {
  const peer = result(50, {runner: 'pytorch-eager', outputError: 1.26e-6});
  const {align, rows} = resultTable([result(100), peer]);
  t.deepEqual(
    rows.map(cells => cells.at(-1)),
    ['logits differ', '', '1.3e-6'],
  );
  t.true(rows.every(({length}) => length === align.length));
  t.is(resultTable([result(100)]).rows[0]!.at(-1), 'repvgg is');
});

test('more than the peak is explained', t => {
  const explained = (fractionOfPeak: number): boolean =>
    notes(reportOf([result(100, {fractionOfPeak})])).some(line => line.includes('Winograd'));
  t.true(explained(1.2));
  t.false(explained(1));
});

test('a pipeline is held against the slower of decoding and its own engine', t => {
  const decode = result(400, {stage: 'decode', model: null, batch: 1, precision: 'uint8'});
  const others = [
    result(999, {batch: 1}),
    result(999, {precision: 'bf16'}),
    result(1, {runner: 'pytorch-eager'}),
  ];
  const pipeline = result(90, {stage: 'pipeline'});
  t.deepEqual(shares(...others, decode, result(100), pipeline), [
    'RepVGG-A0 pipeline: 0.90 of the rate of its slower stage, engine',
  ]);
  t.deepEqual(shares(decode, result(800), result(200, {stage: 'pipeline'})), [
    'RepVGG-A0 pipeline: 0.50 of the rate of its slower stage, decode',
  ]);
  const preprocess = result(4000, {stage: 'preprocess', model: null, batch: 1, precision: 'uint8'});
  const gpu = {device: 'cuda:0', precision: 'fp16'} as const;
  // Two cores decode 400 images a second and resize 4000: 5.5 ms of a core for each.
  t.deepEqual(shares(decode, preprocess, result(9000, gpu), result(380, {...gpu, stage: 'pipeline'})), [
    'RepVGG-A0 pipeline: 0.95 of the rate of its slower stage, decode; 49.5 cores, at 182 images/s each, prepare images as fast as the engine runs',
  ]);
  t.deepEqual(shares(...others, decode, pipeline), [], 'no engine of the same batch and precision');
  t.deepEqual(shares(result(100), pipeline), [], 'no decoding');
});

test('latencies are a table of their own, with gaps for what too few runs do not have, and a line that says why', t => {
  const few = {p50: 123.46, p90: 200, p99: null, runs: 42};
  const decode = result(400, {stage: 'decode', model: null, latencyPercentilesMs: null});
  const results = [result(1000), result(8, {form: 'train', latencyPercentilesMs: few}), decode];
  const {align, rows} = latencyTable(results)!;
  t.deepEqual(rows, [
    ['model', 'stage', 'runner', 'precision', 'batch', 'p50', 'p90', 'p99', 'runs'],
    ['A0', 'engine', 'repvgg', 'fp32', '8', '7.00', '9.00', '12.0', '120'],
    ['A0', 'engine (train)', 'repvgg', 'fp32', '8', '123.5', '200.0', '', '42'],
  ]);
  t.is(align.length, rows[0]!.length);
  t.is(latencyTable([decode]), null);
  const says = (...of: typeof results): boolean =>
    notes(reportOf(of)).some(line => line.startsWith('no p90 of fewer than 10 runs, and no p99'));
  t.true(says(...results));
  t.false(says(result(1000), decode));
});
