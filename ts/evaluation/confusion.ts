import type {ClassLabel} from '../labels.ts';
import {escapeXml} from '../xml.ts';

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
    return text(left, top + side + 62 + 20 * i, line, 'start');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="12">`,
    `<title>${escapeXml(caption)}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    `<text x="${left}" y="26" font-size="15" font-weight="bold">${escapeXml(caption)}</text>`,
    text(left, 46, 'rows are the true classes, columns the predicted ones', 'start', '#777'),
    `<rect x="${left}" y="${top}" width="${side}" height="${side}" fill="none" stroke="#ccc"/>`,
    ...(numbered
      ? names.map(
          (name, i) =>
            text(left - 8, top + i * cell + cell / 2 + 4, name, 'end') +
            `<text transform="translate(${left + i * cell + cell / 2 + 4} ${top - 8}) rotate(-60)">${escapeXml(name)}</text>`,
        )
      : []),
    ...cells(confusion, cell, left, top, numbered),
    ...(pairs.length > 0
      ? [text(left, top + side + 36, 'Most confused', 'start', '#222', true), ...list]
      : []),
    '</svg>\n',
  ].join('\n');
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
        const ink = shade > 0.5 ? 'white' : '#222';
        numbers.push(text(x + cell / 2, y + cell / 2 + 4, String(count), 'middle', ink));
      }
    }
  }
  return [...[...shades].map(([key, paths]) => `<path ${key} d="${paths.join('')}"/>`), ...numbers];
}

function text(x: number, y: number, content: string, anchor: string, fill = '#222', bold = false): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${fill}"${bold ? ' font-weight="bold"' : ''}>${escapeXml(content)}</text>`;
}

function shorten(name: string, length: number): string {
  return name.length > length ? `${name.slice(0, length - 1)}…` : name;
}
