import * as Plot from '@observablehq/plot';
import {type Chart, colours, draw, legend, seriesOf, shortName, shortNumber, width} from './draw.ts';
import {placeLabels, sides} from './labels.ts';
import {paperPoints, publishedTop1} from './published.ts';
import {type BenchResult, usualCrop} from './results.ts';

const [height, margins] = [460, {marginTop: 20, marginRight: 60, marginBottom: 42, marginLeft: 40}];

/** Room for the labels of the slowest networks. */
const roomLeft = 80;

interface Point {
  model: string;
  top1: number;
  rate: number;
  series: string;
  isNamed: boolean;
}

const [paperSeries, paperOthers] = ['RepVGG, GTX 1080 Ti (paper)', 'other networks, GTX 1080 Ti (paper)'];

/** Figure 1 of the paper with the results of this machine added. */
export function accuracyChart(results: readonly BenchResult[]): Chart | null {
  const fastest = fastestOf(results);
  const here = fastest.flatMap(measuredPoint);
  if (here.length === 0) return null;
  const paper = paperPoints.map(({model, top1, imagesPerSecond, family}): Point => {
    const series = family === 'RepVGG' ? paperSeries : paperOthers;
    return {model, top1, rate: imagesPerSecond, series, isNamed: true};
  });
  const {domain, range} = colours(fastest);
  const color = {
    domain: [
      paperSeries,
      paperOthers,
      ...domain.map(name => placedSeries(fastest.find(result => seriesOf(result) === name)!)),
    ],
    range: ['#555', '#aaa', ...range],
  };
  return {
    title: 'Speed and accuracy',
    caption:
      'ImageNet top-1 as published, against images per second: on a GTX 1080 Ti as in figure 1 of the RepVGG paper ' +
      '(fp32, batch 128), and as measured here at the fastest batch size. Dots of peers are level with those of the same network.',
    html: legend(color) + drawPoints([...paper, ...here], color),
  };
}

/** Of each series and network with a published accuracy, the fastest batch size. */
function fastestOf(results: readonly BenchResult[]): BenchResult[] {
  const best = new Map<string, BenchResult>();
  for (const result of results) {
    const {model, crop, stage, form} = result;
    if (stage !== 'engine' || form !== 'deploy' || (crop && crop !== usualCrop(model!))) continue;
    const key = `${seriesOf(result)} ${model}`;
    const rate = best.get(key)?.imagesPerSecond.median ?? 0;
    if (result.imagesPerSecond.median > rate) best.set(key, result);
  }
  return [...best.values()];
}

function measuredPoint(result: BenchResult): Point[] {
  const {model, runner, imagesPerSecond} = result;
  const top1 = publishedTop1(model!);
  if (top1 === undefined) return [];
  const rate = imagesPerSecond.median;
  return [{model: model!, top1, rate, series: placedSeries(result), isNamed: runner === 'repvgg'}];
}

function drawPoints(points: readonly Point[], color: {domain: string[]; range: string[]}): string {
  const rates = points.map(({rate}) => rate);
  const accuracies = points.map(({top1}) => top1);
  const x = {
    type: 'log',
    domain: [Math.min(...rates), Math.max(...rates)],
    range: [margins.marginLeft + roomLeft, width - margins.marginRight],
  } as const;
  const y = {
    domain: [Math.floor(Math.min(...accuracies)), Math.ceil(Math.max(...accuracies))],
    range: [height - margins.marginBottom, margins.marginTop],
  };
  const [toX, toY] = [Plot.scale({x}), Plot.scale({y})];
  const dots = points.map(({model, top1, rate, series, isNamed}) => ({
    x: toX.apply(rate),
    y: toY.apply(top1),
    text: isNamed ? shortName(model) : '', // A peer's dot is level with ours, which has the label.
    prefer: series === paperOthers ? ('left' as const) : ('right' as const),
  }));
  const placed = placeLabels(dots, margins.marginLeft);
  const names = sides.map(side =>
    Plot.text(
      points.filter((_, i) => placed[i] === side && dots[i]!.text !== ''),
      {
        x: 'rate',
        y: 'top1',
        text: ({model}: Point) => shortName(model),
        ...side,
        fontSize: 10,
        fill: 'series',
      },
    ),
  );
  return draw({
    height,
    ...margins,
    x: {...x, label: 'images per second →', grid: true, tickFormat: shortNumber},
    y: {...y, label: '↑ ImageNet top-1, %', grid: true},
    color,
    marks: [Plot.dot(points, {x: 'rate', y: 'top1', fill: 'series', r: 4}), ...names],
  });
}

/** A series and where it ran, such as "repvgg fp32, cpu, 1 thread". */
function placedSeries(result: BenchResult): string {
  const {device, threads} = result;
  const place = device === 'cpu' ? `cpu, ${threads} ${threads === 1 ? 'thread' : 'threads'}` : device;
  return `${seriesOf(result)}, ${place}`;
}
