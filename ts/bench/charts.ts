import domino from '@mixmark-io/domino';
import * as Plot from '@observablehq/plot';
import {paperPoints, publishedTop1} from './published.ts';
import type {BenchLayers, BenchReport, BenchResult} from './results.ts';
import {layersTitle} from './table.ts';

/** A picture of the results. */
export interface Chart {
  title: string;
  caption: string;
  /** An SVG, or a figure of one with a legend: HTML that needs no script and no network. */
  html: string;
}

const width = 860;
const document = domino.createDocument('');
/** The series of this package stand out, whoever else there is. */
const ourColour = '#d1495b';
const peerColours = ['#2e6f95', '#6a994e', '#8367c7', '#bc6c25', '#577590'];

/** Every chart for which there are results. */
export function drawCharts(report: BenchReport): Chart[] {
  const {results} = report;
  return [accuracyChart(results), batchChart(results), stageChart(results), peerChart(results)]
    .filter(chart => chart !== null)
    .concat((report.layers ?? []).map(layerChart));
}

function draw(options: Plot.PlotOptions): string {
  const style = {background: 'white', color: '#222', fontSize: '12px'};
  return Plot.plot({document, width, style, marginBottom: 42, ...options}).outerHTML;
}

const seriesOf = ({runner, precision}: BenchResult): string => `${runner} ${precision}`;

interface Colours {
  domain: string[];
  range: string[];
}

/** The legend of a chart. Plot's own needs more of a DOM than domino has. */
function legend({domain, range}: Colours): string {
  const entries = domain.map(
    (name, i) => `<span style="white-space: nowrap"><b style="color: ${range[i]}">●</b> ${name}</span>`,
  );
  return `<p style="font-size: 13px; margin: 0">${entries.join(' &ensp; ')}</p>`;
}

function colours(results: readonly BenchResult[]): Colours {
  const domain = [...new Set(results.map(seriesOf))].sort(
    (a, b) => Number(b.startsWith('repvgg')) - Number(a.startsWith('repvgg')) || a.localeCompare(b),
  );
  let next = 0;
  const range = domain.map(name =>
    name.startsWith('repvgg') ? ourColour : peerColours[next++ % peerColours.length]!,
  );
  return {domain, range};
}

const shortName = (model: string): string => model.replace('RepVGG-', '');

/** The paper's figure 1, with this machine's results in it. */
function accuracyChart(results: readonly BenchResult[]): Chart | null {
  const engine = results.filter(({stage, form}) => stage === 'engine' && form === 'deploy');
  const best = new Map<string, BenchResult>();
  for (const result of engine) {
    const key = `${seriesOf(result)} ${result.model}`;
    const rate = best.get(key)?.imagesPerSecond.median ?? 0;
    if (result.imagesPerSecond.median > rate) best.set(key, result);
  }
  const here = [...best.values()].flatMap(result => {
    const top1 = publishedTop1(result.model!);
    if (top1 === undefined) return [];
    const rate = result.imagesPerSecond.median;
    return [{model: result.model!, top1, rate, series: `${seriesOf(result)}, this machine`}];
  });
  if (here.length === 0) return null;
  const paper = paperPoints.map(({model, top1, imagesPerSecond, family}) => ({
    model,
    top1,
    rate: imagesPerSecond,
    series: family === 'RepVGG' ? 'RepVGG, GTX 1080 Ti (paper)' : 'other networks, GTX 1080 Ti (paper)',
  }));
  const {domain, range} = colours([...best.values()]);
  const color = {
    domain: [
      'RepVGG, GTX 1080 Ti (paper)',
      'other networks, GTX 1080 Ti (paper)',
      ...domain.map(name => `${name}, this machine`),
    ],
    range: ['#555', '#bbb', ...range],
  };
  const points = [...paper, ...here];
  const labelled = [...paper, ...here.filter(({series}) => series.startsWith('repvgg'))];
  return {
    title: 'Speed and accuracy',
    caption:
      'ImageNet top-1 as published, against images per second: on a GTX 1080 Ti as in figure 1 of the RepVGG paper ' +
      '(fp32, batch 128), and on this machine at the batch size that is fastest.',
    html:
      legend(color) +
      draw({
        height: 460,
        marginRight: 60,
        x: {type: 'log', label: 'images per second →', grid: true, tickFormat: '~s'},
        y: {label: '↑ ImageNet top-1, %', grid: true, nice: true},
        color,
        marks: [
          Plot.line(here, {
            x: 'rate',
            y: 'top1',
            z: 'series',
            stroke: 'series',
            strokeOpacity: 0.35,
            sort: 'rate',
          }),
          Plot.dot(points, {x: 'rate', y: 'top1', fill: 'series', r: 4}),
          ...[true, false].map(left =>
            Plot.text(
              labelled.filter(({series}) => series.startsWith('other') === left),
              {
                x: 'rate',
                y: 'top1',
                text: ({model}: {model: string}) => shortName(model),
                dx: left ? -7 : 7,
                dy: left ? 0 : -5,
                textAnchor: left ? 'end' : 'start',
                fontSize: 10,
                fill: left ? '#999' : 'series',
              },
            ),
          ),
        ],
      }),
  };
}

/** Throughput and latency over the batch size, one panel a network. */
function batchChart(results: readonly BenchResult[]): Chart | null {
  const engine = results.filter(({stage}) => stage === 'engine');
  if (new Set(engine.map(({batch}) => batch)).size < 2) return null;
  const batches = [...new Set(engine.map(({batch}) => batch))].sort((a, b) => a - b);
  const rows = engine.map(result => ({
    model: shortName(result.model!),
    batch: result.batch,
    series: seriesOf(result),
    rate: result.imagesPerSecond.median,
    slowest: result.imagesPerSecond.min,
    fastest: result.imagesPerSecond.max,
    latency: result.latencyMs,
  }));
  const panel = (y: 'rate' | 'latency', label: string): string =>
    draw({
      height: 260,
      x: {type: 'log', label: 'batch size →', ticks: batches, tickFormat: 'd'},
      y: {type: 'log', label, grid: true, tickFormat: '~s', nice: true},
      fx: {label: null},
      color: colours(engine),
      marks: [
        Plot.frame({stroke: '#ddd'}),
        ...(y === 'rate'
          ? [Plot.ruleX(rows, {x: 'batch', y1: 'slowest', y2: 'fastest', fx: 'model', stroke: 'series'})]
          : []),
        Plot.line(rows, {x: 'batch', y, fx: 'model', stroke: 'series', sort: 'batch'}),
        Plot.dot(rows, {x: 'batch', y, fx: 'model', fill: 'series', r: 3}),
      ],
    });
  return {
    title: 'Batch size',
    caption: 'The network alone: images per second with the range over the rounds, and milliseconds a batch.',
    html: legend(colours(engine)) + panel('rate', '↑ images per second') + panel('latency', '↑ ms per batch'),
  };
}

/** What each step could do alone, and the pipeline of all of them. */
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
    return [...parts, pipeline].map(({stage, imagesPerSecond: {median}}) => ({
      stage,
      model: shortName(pipeline.model!),
      rate: median,
      label: `${median.toFixed(0)}${stage === 'pipeline' ? '' : `, ${((100 * through) / median).toFixed(0)} % used`}`,
    }));
  });
  if (rows.length === 0) return null;
  return {
    title: 'The pipeline and its stages',
    caption:
      'Images per second from JPEG bytes to labels, and of each stage when it runs alone. The percentage is how much of ' +
      'that the pipeline uses: stages share the cores, so they add up to about 100 % where the processor does it all.',
    html: draw({
      height: 60 + 130 * pipelines.length,
      marginLeft: 90,
      marginRight: 60,
      x: {
        label: 'images per second →',
        grid: true,
        domain: [0, 1.3 * Math.max(...rows.map(({rate}) => rate))],
      },
      y: {label: null, domain: ['decode', 'preprocess', 'engine', 'pipeline']},
      fy: {label: null},
      marks: [
        Plot.barX(rows, {
          x: 'rate',
          y: 'stage',
          fy: 'model',
          fill: ({stage}: {stage: string}) => (stage === 'pipeline' ? ourColour : '#9db4c0'),
        }),
        Plot.text(rows, {x: 'rate', y: 'stage', fy: 'model', text: 'label', dx: 5, textAnchor: 'start'}),
        Plot.ruleX([0]),
      ],
    }),
  };
}

/** How many times as fast as each peer. */
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
    title: 'Beside others',
    caption:
      'Images per second of this package over those of each peer, in the same rounds: median and range of the ratios. ' +
      'Right of the line this package is faster.',
    html: draw({
      height: 50 + groups * (30 + 22 * series),
      marginLeft: 170,
      marginRight: 190,
      x: {type: 'log', label: 'repvgg is so many times as fast →', grid: true, tickFormat: '~g'},
      y: {label: null},
      // In the order of the results, not of the letters: batch 8 before 32.
      fy: {label: null, domain: [...new Set(rows.map(({group}) => group))]},
      color: colours(results.filter(({ratio}) => ratio)),
      marks: [
        Plot.ruleX([1], {stroke: '#222'}),
        Plot.link(rows, {x1: 'min', x2: 'max', y1: 'series', y2: 'series', fy: 'group', stroke: 'series'}),
        Plot.dot(rows, {x: 'median', y: 'series', fy: 'group', fill: 'series', r: 4}),
        Plot.text(rows, {x: 'median', y: 'series', fy: 'group', text: 'label', dy: -9, fontSize: 10}),
      ],
    }),
  };
}

/** Time of each layer beside its roofline. */
function layerChart(network: BenchLayers): Chart {
  const rows = network.layers.map(({name, algorithm, microseconds, leastMicroseconds}, index) => ({
    name: `${index} ${name}`,
    algorithm: algorithm.split(' ')[0]!,
    microseconds,
    leastMicroseconds,
  }));
  const colour = {
    domain: ['direct', 'f2', 'f4'],
    range: ['#577590', '#6a994e', ourColour],
  };
  return {
    title: `Layers: ${layersTitle(network)}`,
    caption:
      'Microseconds for an image. The line in each bar is the least that its algorithm could take on this machine: ' +
      'its multiplications at the peak, or its weights at the copy bandwidth.',
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
