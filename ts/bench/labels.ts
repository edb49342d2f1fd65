/** A point to label; coordinates in pixels. */
export interface Dot {
  x: number;
  y: number;
  text: string;
  /** Used if there is room on both sides. */
  prefer: 'left' | 'right';
}

/** The position of a label relative to its dot, as options of a text mark. */
export interface Side {
  dx: number;
  dy: number;
  textAnchor: 'start' | 'middle' | 'end';
}

const [height, letter, radius] = [10, 5.6, 5];
const right: Side = {dx: 7, dy: -5, textAnchor: 'start'};
const left: Side = {dx: -7, dy: 0, textAnchor: 'end'};
const above: Side = {dx: 0, dy: -11, textAnchor: 'middle'};
const diagonal: Side = {dx: 4, dy: -13, textAnchor: 'start'};
const corner: Side = {dx: 7, dy: 6, textAnchor: 'start'};
const below: Side = {dx: 0, dy: 11, textAnchor: 'middle'};

/** All positions. Labels with the same position, compared by identity, can be drawn by one mark. */
export const sides: readonly Side[] = [right, diagonal, above, corner, below, left];

interface Box {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
}

/** Chooses for each dot a side where its label starts at x >= `least` and covers no dot and no earlier label, or else the preferred side. */
export function placeLabels(dots: readonly Dot[], least: number): Side[] {
  const taken: Box[] = dots.map(({x, y}) => ({
    x1: x - radius,
    y1: y - radius,
    x2: x + radius,
    y2: y + radius,
  }));
  const isFree = (box: Box): boolean => box.x1 >= least && !taken.some(other => overlap(other, box));
  return dots.map(dot => {
    const order = dot.prefer === 'right' ? sides : sides.toReversed();
    const free = order.find(side => isFree(boxOf(dot, side))) ?? order[0]!;
    taken.push(boxOf(dot, free));
    return free;
  });
}

function boxOf({x, y, text}: Dot, {dx, dy, textAnchor}: Side): Box {
  const width = letter * text.length;
  const x1 = x + dx - (textAnchor === 'start' ? 0 : textAnchor === 'end' ? width : width / 2);
  return {x1, y1: y + dy - height / 2, x2: x1 + width, y2: y + dy + height / 2};
}

function overlap(a: Box, b: Box): boolean {
  return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2;
}
