import type {ClassLabel} from '../labels.ts';
import {softInk, svgDocument, svgText} from '../support/svg.ts';

/** Classes up to which each cell has its number, and each row its label. */
const mostNumbered = 40;
const pairsListed = 12;
const [right, wrong] = ['#2e6f95', '#d1495b'];

/**
 * Draws which classes were taken for which: a row for each true class, a column for each that was predicted, blue where
 * they are the same. Below it, the pairs that were confused most.
 *
 * @param confusion [true class][predicted class], images
 * @returns an SVG document
 */
export function drawConfusion(
  confusion: readonly Uint32Array[],
  labels: readonly ClassLabel[],
  caption: string,
): string {
  const classes = labels.length;
  const numbered = classes <= mostNumbered;
  const cell = numbered ? 30 : Math.max(1, Math.floor(900 / classes));
  const names = labels.map(({label}) => shorten(label.split(',')[0]!, 24));
  const left = numbered ? 30 + 7.5 * Math.max(...names.map(name => name.length)) : 60;
  const top = numbered ? 68 + 6 * Math.max(...names.map(name => name.length)) : 90;
  const side = classes * cell;
  const pairs = confusedPairs(confusion).slice(0, pairsListed);
  const width = Math.ceil(Math.max(left + side + 30, 620));
  const height = Math.ceil(top + side + 70 + 20 * pairs.length);
  const list = pairs.map(({truth, predicted, count}, i) => {
    const images = confusion[truth]!.reduce((sum, one) => sum + one, 0);
    const line = `${names[truth]} taken for ${names[predicted]}: ${count} of ${images}`;
    return svgText(left, top + side + 62 + 20 * i, line, {anchor: 'start'});
  });
  const note = 'rows are the true classes, columns the predicted ones';
  const middleOf = (index: number): number => index * cell + cell / 2 + 4;
  return svgDocument({
    width,
    height,
    title: caption,
    elements: [
      svgText(left, 26, caption, {anchor: 'start', weight: 'bold', fontSize: 15}),
      svgText(left, 46, note, {anchor: 'start', fill: softInk}),
      `<rect x="${left}" y="${top}" width="${side}" height="${side}" fill="none" stroke="#ccc"/>`,
      ...(numbered ? names : []).flatMap((name, i) => [
        svgText(left - 8, top + middleOf(i), name, {anchor: 'end'}),
        svgText(left + middleOf(i), top - 8, name, {anchor: 'start', rotate: -60}),
      ]),
      ...cells(confusion, cell, left, top, numbered),
      ...(pairs.length > 0
        ? [svgText(left, top + side + 36, 'Most confused', {anchor: 'start', weight: 'bold'}), ...list]
        : []),
    ],
  });
}

export interface ConfusedPair {
  truth: number;
  predicted: number;
  count: number;
}

/** The classes that were taken for another, the most frequent first. */
export function confusedPairs(confusion: readonly Uint32Array[]): ConfusedPair[] {
  const pairs: ConfusedPair[] = [];
  for (const [truth, row] of confusion.entries()) {
    for (const [predicted, count] of row.entries()) {
      if (count > 0 && predicted !== truth) pairs.push({truth, predicted, count});
    }
  }
  return pairs.sort((a, b) => b.count - a.count);
}

/** Cells by their share of their row, in eight shades: a path for all of one shade, since there can be a million cells. */
function cells(
  confusion: readonly Uint32Array[],
  cell: number,
  left: number,
  top: number,
  numbered: boolean,
): string[] {
  const shades = new Map<string, string[]>();
  const numbers: string[] = [];
  for (const [truth, row] of confusion.entries()) {
    const images = row.reduce((sum, count) => sum + count, 0);
    for (const [predicted, count] of row.entries()) {
      if (count === 0) continue;
      const shade = Math.ceil((8 * count) / images) / 8;
      const key = `fill="${truth === predicted ? right : wrong}" fill-opacity="${0.15 + 0.85 * shade}"`;
      const [x, y] = [left + predicted * cell, top + truth * cell];
      if (!shades.has(key)) shades.set(key, []);
      shades.get(key)!.push(`M${x} ${y}h${cell}v${cell}h-${cell}z`);
      if (numbered) {
        const onCell = shade > 0.5 ? {fill: 'white'} : {};
        numbers.push(svgText(x + cell / 2, y + cell / 2 + 4, String(count), onCell));
      }
    }
  }
  return [...[...shades].map(([key, paths]) => `<path ${key} d="${paths.join('')}"/>`), ...numbers];
}

function shorten(name: string, length: number): string {
  return name.length > length ? `${name.slice(0, length - 1)}…` : name;
}
