import * as Plot from '@observablehq/plot';
import {accuracyChart} from './chart_accuracy.ts';
import {type Chart, colours, draw, legend, ourColour, seriesOf, shortName, shortNumber} from './draw.ts';
import type {BenchLayers, BenchReport, BenchResult} from './results.ts';
import {layersTitle} from './table.ts';

/** Draws every chart for which there are results. */
export function drawCharts(report: BenchReport): Chart[] {
  const {results} = report;
  return [accuracyChart(results), batchChart(results), stageChart(results), peerChart(results)]
    .filter(chart => chart !== null)
    .concat((report.layers ?? []).map(layerChart));
}

/** Throughput and latency over the batch size, one panel per network. */
function batchChart(results: readonly BenchResult[]): Chart | null {
  const engine = results.filter(({stage}) => stage === 'engine');
  if (new Set(engine.map(({batch}) => batch)).size < 2) return null;
  const batches = [...new Set(engine.map(({batch}) => batch))].sort((a, b) => a - b);
  const rows = engine.map(result => {
    const {imagesPerSecond, latencyPercentilesMs: times, latencyMs} = result;
    const latency = times?.p50 ?? latencyMs;
    return {
      model: shortName(result.model!),
      batch: result.batch,
      series: seriesOf(result),
      rate: imagesPerSecond.median,
      latency,
      // What the rule spans.
      rateRange: [imagesPerSecond.min, imagesPerSecond.max],
      latencyRange: [latency, times?.p99 ?? times?.p90 ?? latency],
    };
  });
  const panel = (y: 'rate' | 'latency', label: string): string =>
    draw({
      height: 260,
      x: {type: 'log', label: 'batch size →', ticks: batches, tickFormat: 'd'},
      y: {type: 'log', label, grid: true, tickFormat: shortNumber, nice: true},
      fx: {label: null},
      color: colours(engine),
      marks: [
        Plot.frame({stroke: '#ddd'}),
        Plot.ruleX(rows, {
          x: 'batch',
          y1: row => row[`${y}Range`][0],
          y2: row => row[`${y}Range`][1],
          fx: 'model',
          stroke: 'series',
        }),
        Plot.line(rows, {x: 'batch', y, fx: 'model', stroke: 'series', sort: 'batch'}),
        Plot.dot(rows, {x: 'batch', y, fx: 'model', fill: 'series', r: 3}),
      ],
    });
  return {
    title: 'Batch size',
    caption:
      'The network alone: images per second, with the range over the rounds, and milliseconds of single batches: the median, with a ' +
      'line to the 99th percentile, or to the 90th where there were fewer than 100 runs.',
    html: legend(colours(engine)) + panel('rate', '↑ images per second') + panel('latency', '↑ ms per batch'),
  };
}

/** The throughput of the pipeline as a share of what each stage reaches alone. */
function stageChart(results: readonly BenchResult[]): Chart | null {
  const own = results.filter(({runner}) => runner === 'repvgg');
  const pipelines = own.filter(({stage}) => stage === 'pipeline');
  const rows = pipelines.flatMap(pipeline => {
    const parts = own.filter(
      ({stage, model, batch}) =>
        stage === 'decode' ||
        stage === 'preprocess' ||
        (stage === 'engine' && model === pipeline.model && batch === pipeline.batch),
    );
    const through = pipeline.imagesPerSecond.median;
    return parts.map(({stage, imagesPerSecond: {median}}) => ({
      stage,
      pipeline: `${shortName(pipeline.model!)}: ${through.toFixed(0)} images/s`,
      used: (100 * through) / median,
      label: `${((100 * through) / median).toFixed(0)} % of ${median.toFixed(0)} images/s`,
    }));
  });
  if (rows.length === 0) return null;
  return {
    title: 'The pipeline and its stages',
    caption:
      'From JPEG bytes to labels: the throughput of the pipeline as a share of what each stage reaches alone. On a CPU the stages ' +
      'share the cores, so the bars add up to about 100 %; with the engine on a GPU, the longest bar is the bottleneck.',
    html: draw({
      height: 50 + 100 * pipelines.length,
      marginLeft: 90,
      marginRight: 150,
      x: {
        label: '% used →',
        grid: true,
        domain: [0, 1.3 * Math.max(100, ...rows.map(({used}) => used))],
      },
      y: {label: null, domain: ['decode', 'preprocess', 'engine']},
      fy: {label: null, domain: [...new Set(rows.map(({pipeline}) => pipeline))]},
      marks: [
        Plot.barX(rows, {x: 'used', y: 'stage', fy: 'pipeline', fill: ourColour}),
        Plot.ruleX([0, 100], {stroke: '#222'}),
        Plot.text(rows, {
          x: 'used',
          y: 'stage',
          fy: 'pipeline',
          text: 'label',
          dx: 5,
          textAnchor: 'start',
          stroke: 'white',
          fill: '#222',
        }),
      ],
    }),
  };
}

/** Speed relative to each peer. */
function peerChart(results: readonly BenchResult[]): Chart | null {
  const rows = results.flatMap(result => {
    if (!result.ratio) return [];
    const {min, median, max} = result.ratio;
    const ours = results.find(
      ({runner, model, batch}) => runner === 'repvgg' && model === result.model && batch === result.batch,
    );
    const group = `${shortName(result.model!)} batch ${result.batch}, ours ${ours?.precision}`;
    return [{series: seriesOf(result), group, min, median, max, label: `${median.toFixed(2)} x`}];
  });
  if (rows.length === 0) return null;
  const groups = new Set(rows.map(({group}) => group)).size;
  const series = new Set(rows.map(row => row.series)).size;
  return {
    title: 'Compared with peers',
    caption:
      'Images per second of this package divided by those of each peer in the same rounds: median and range of the ratios. ' +
      'To the right of the line, this package is faster.',
    html: draw({
      height: 50 + groups * (30 + 22 * series),
      marginLeft: 170,
      marginRight: 190,
      x: {type: 'log', label: 'repvgg over the peer, images per second →', grid: true, tickFormat: '~g'},
      y: {label: null},
      // In the order of the results, not alphabetical: batch 8 before 32.
      fy: {label: null, domain: [...new Set(rows.map(({group}) => group))]},
      color: colours(results.filter(({ratio}) => ratio)),
      marks: [
        Plot.ruleX([1], {stroke: '#222'}),
        Plot.link(rows, {x1: 'min', x2: 'max', y1: 'series', y2: 'series', fy: 'group', stroke: 'series'}),
        Plot.dot(rows, {x: 'median', y: 'series', fy: 'group', fill: 'series', r: 4}),
        Plot.text(rows, {
          x: 'median',
          y: 'series',
          fy: 'group',
          text: 'label',
          dy: -9,
          fontSize: 10,
          stroke: 'white',
          fill: '#222',
        }),
      ],
    }),
  };
}

const algorithmColours: Record<string, string> = {
  direct: '#577590',
  f2: '#6a994e',
  f4x2: '#bc6c25',
  f4: ourColour,
  // Of GPUs: direct convolution by other instructions, the first layer, and the first two in one kernel.
  sm90a: '#7d5ba6',
  wmma: '#3a9cab',
  stem: '#8d99ae',
  fused: '#d4a017',
};

/** The time of each layer and its roofline. */
function layerChart(network: BenchLayers): Chart {
  const rows = network.layers.map(({name, algorithm, microseconds, leastMicroseconds}, index) => ({
    name: `${index} ${name}`,
    algorithm: algorithm.split(' ')[0]!,
    microseconds,
    leastMicroseconds,
  }));
  const domain = [...new Set(rows.map(({algorithm}) => algorithm))].sort();
  const colour = {domain, range: domain.map(name => algorithmColours[name] ?? '#999')};
  return {
    title: `Layers: ${layersTitle(network)}`,
    caption:
      'Microseconds per image. The line in each bar is the lower bound for its algorithm on this machine: ' +
      'its multiplications at peak rate, or its weights (on a GPU also its feature maps) at copy bandwidth.',
    html: `${legend(colour)}${draw({
      height: 50 + 18 * rows.length,
      marginLeft: 110,
      x: {label: 'microseconds →', grid: true},
      y: {label: null, domain: rows.map(({name}) => name)},
      color: colour,
      marks: [
        Plot.barX(rows, {x: 'microseconds', y: 'name', fill: 'algorithm'}),
        Plot.tickX(rows, {x: 'leastMicroseconds', y: 'name', stroke: '#222', strokeWidth: 2}),
      ],
    })}`,
  };
}
