import test from 'ava';
import {architectureNames} from '../../ts/architecture.ts';
import {publishedTop1} from '../../ts/bench/published.ts';
import {renderReport} from '../../ts/bench/report.ts';
import type {BenchResult} from '../../ts/bench/results.ts';
import {fullReport, reportOf, result} from './results.ts';

test('the report needs neither a network nor scripts', t => {
  const html = renderReport(fullReport());
  t.false(/<script|<link|@import|src=|href=/i.test(html));
  const addresses = (html.match(/https?:\/\/[^"' )]+/g) ?? []).filter(
    url => !url.startsWith('http://www.w3.org/'),
  );
  t.deepEqual(addresses, []);
});

test('the report has every chart for which there are results', t => {
  const headings = (html: string) => [...html.matchAll(/<h2>(.*?)<\/h2>/g)].map(([, text]) => text);
  t.deepEqual(headings(renderReport(fullReport())), [
    'Speed and accuracy',
    'Batch size',
    'The pipeline and its stages',
    'Compared with peers',
    'All results',
    'Latency of one batch at a time, in ms',
  ]);
  const decode = result(100, {model: null, stage: 'decode', latencyPercentilesMs: null});
  t.deepEqual(headings(renderReport(reportOf([decode]))), ['All results']);
});

test('every result has its mark', t => {
  // 23 networks of the paper, four series of A0 and A2 here; 12 results over batch sizes, twice; 6 ratios.
  t.is(renderReport(fullReport()).match(/<circle/g)?.length, 23 + 4 + 2 * 12 + 6);
});

test('a line goes from the median of the latencies to the highest percentile that there is', t => {
  const points = (latency: BenchResult['latencyPercentilesMs']): number => {
    const results = [1, 8].map(batch => result(100, {batch, latencyPercentilesMs: latency!}));
    const lines = renderReport(reportOf(results)).matchAll(
      /<line x1="([\d.]+)" x2="\1" y1="([\d.]+)" y2="\2"/g,
    );
    return [...lines].length;
  };
  t.is(points({p50: 5, p90: 6, p99: 9, runs: 100}), 0);
  t.is(points({p50: 5, p90: 6, p99: null, runs: 10}), 0);
  t.is(points({p50: 5, p90: null, p99: null, runs: 3}), 2);
  t.is(points(null), 2);
});

test('the first chart has the paper and what was measured, and says on what', t => {
  const html = renderReport(fullReport());
  for (const name of ['B3g4', 'ResNet-50', 'A2']) t.true(html.includes(`>${name}</text>`), name);
  for (const [name, device] of [
    ['repvgg fp32, cpu, 2 threads', 'cpu'],
    ['repvgg fp32, cuda:0', 'cuda:0'],
  ] as const) {
    const legend = renderReport(reportOf([result(100, {device})]));
    t.true(legend.includes(`</b> ${name}</span>`), name);
  }
});

test('the chart of the pipeline says how much of each stage it uses', t => {
  const html = renderReport(fullReport());
  for (const label of [
    '20 % of 300 images/s',
    '7 % of 900 images/s',
    '45 % of 132 images/s',
    'A0: 60 images/s',
  ])
    t.true(html.includes(`>${label}</text>`), label);
});

test('labels with a white edge are not white', t => {
  const groups = renderReport(fullReport()).match(/<g [^>]*stroke="white"[^>]*>/g)!;
  t.is(groups.length, 2 + 6); // Two pipelines, and six cases beside a peer.
  for (const group of groups) t.regex(group, /fill="#222"/);
});

test('what a machine calls itself is text', t => {
  t.true(renderReport(fullReport()).includes('A &lt;fast&gt; CPU'));
});

test('the accuracies are those of variants that exist', t => {
  const without = architectureNames.filter(name => publishedTop1(name) === undefined);
  t.deepEqual(without, ['RepVGG-B2g2', 'RepVGG-B3g2']);
});
