import * as Plot from '@observablehq/plot';
import {type Chart, colours, draw, legend, seriesOf, shortName, shortNumber, width} from './draw.ts';
import {placeLabels, sides} from './labels.ts';
import {paperPoints, publishedTop1} from './published.ts';
import {type BenchResult, usualCrop} from './results.ts';

const [height, margins] = [460, {marginTop: 20, marginRight: 60, marginBottom: 42, marginLeft: 40}];

/** Room for the labels of the slowest networks. */
const roomLeft = 80;

/** Figure 1 of the paper with the results of this machine added. */
export function accuracyChart(results: readonly BenchResult[]): Chart | null {
  const published = ({model, crop}: BenchResult): boolean => !crop || crop === usualCrop(model!);
  const engine = results.filter(
    result => result.stage === 'engine' && result.form === 'deploy' && published(result),
  );
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
    return [
      {model: result.model!, top1, rate, series: placedSeries(result), isNamed: result.runner === 'repvgg'},
    ];
  });
  if (here.length === 0) return null;
  const paper = paperPoints.map(({model, top1, imagesPerSecond, family}) => ({
    model,
    top1,
    rate: imagesPerSecond,
    series: family === 'RepVGG' ? 'RepVGG, GTX 1080 Ti (paper)' : 'other networks, GTX 1080 Ti (paper)',
    isNamed: true,
  }));
  const ours = [...best.values()];
  const {domain, range} = colours(ours);
  const color = {
    domain: [
      'RepVGG, GTX 1080 Ti (paper)',
      'other networks, GTX 1080 Ti (paper)',
      ...domain.map(name => placedSeries(ours.find(result => seriesOf(result) === name)!)),
    ],
    range: ['#555', '#aaa', ...range],
  };
  const points = [...paper, ...here];
  const rates = points.map(({rate}) => rate);
  const accuracies = points.map(one => one.top1);
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
  const dots = points.map(point => ({
    x: toX.apply(point.rate),
    y: toY.apply(point.top1),
    text: point.isNamed ? shortName(point.model) : '', // A peer's dot is level with ours, which has the label.
    prefer: point.series.startsWith('other') ? ('left' as const) : ('right' as const),
  }));
  const placed = placeLabels(dots, margins.marginLeft);
  return {
    title: 'Speed and accuracy',
    caption:
      'ImageNet top-1 as published, against images per second: on a GTX 1080 Ti as in figure 1 of the RepVGG paper ' +
      '(fp32, batch 128), and as measured here at the fastest batch size. Dots of peers are level with those of the same network.',
    html:
      legend(color) +
      draw({
        height,
        ...margins,
        x: {...x, label: 'images per second →', grid: true, tickFormat: shortNumber},
        y: {...y, label: '↑ ImageNet top-1, %', grid: true},
        color,
        marks: [
          Plot.dot(points, {x: 'rate', y: 'top1', fill: 'series', r: 4}),
          ...sides.map(side =>
            Plot.text(
              points.filter((_, i) => placed[i] === side && dots[i]!.text !== ''),
              {
                x: 'rate',
                y: 'top1',
                text: ({model}: {model: string}) => shortName(model),
                ...side,
                fontSize: 10,
                fill: 'series',
              },
            ),
          ),
        ],
      }),
  };
}

/** A series and where it ran, such as "repvgg fp32, cpu, 1 thread". */
function placedSeries(result: BenchResult): string {
  const {device, threads} = result;
  const place = device === 'cpu' ? `cpu, ${threads} ${threads === 1 ? 'thread' : 'threads'}` : device;
  return `${seriesOf(result)}, ${place}`;
}
