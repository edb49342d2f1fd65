import {type Architecture, type BlockShape, blockName} from '../architecture.ts';
import {type LayerStatistics, layerTable, type NetworkStatistics} from '../statistics.ts';
import {formatCount} from '../support/plain_text.ts';
import {ink, softInk, svgDocument, svgText} from '../support/svg.ts';

/** Blocks in a row that differ in their groups at most: drawn once, with how many there are. */
interface Run {
  shape: BlockShape;
  layers: LayerStatistics[];
}

/** In pixels: of the picture, of a run's row in it, of a box, and the centres of both forms. */
const size = {
  width: 980,
  header: 96,
  row: 132,
  footer: 150,
  train: 300,
  deploy: 716,
  box: 112,
  boxHeight: 28,
};
/** The other branches, right of the 3x3 convolution. */
const branchAt = {pointwise: 104, identity: 190};
const colours = {
  3: '#2e6f95',
  1: '#d1495b',
  identity: '#6a994e',
  squeeze: '#8367c7',
  plain: '#f3f1ea',
};

/**
 * Draws a network as it is trained and as it runs, side by side: figure 2 of the RepVGG paper (arXiv 2101.03697), for this
 * architecture.
 *
 * @param caption what the network is, in a line: a file's name
 * @returns an SVG document that needs nothing but a font
 */
export function drawNetwork(architecture: Architecture, inputSize: number, caption: string): string {
  const statistics = layerTable(architecture, {height: inputSize, width: inputSize});
  const runs = collectRuns(statistics.layers);
  const height = size.header + runs.length * size.row + size.footer;
  const rows = runs.map((run, i) => drawRun(run, architecture, size.header + i * size.row));
  const title = `${architecture.name === 'custom' ? 'RepVGG' : architecture.name} as it is trained and as it runs`;
  return svgDocument({
    width: size.width,
    height,
    title,
    description: describe(architecture, statistics),
    elements: [
      drawHeader(caption, statistics, inputSize),
      ...rows,
      drawFooter(architecture, statistics, size.header + runs.length * size.row),
    ],
  });
}

function collectRuns(layers: readonly LayerStatistics[]): Run[] {
  const runs: Run[] = [];
  for (const layer of layers) {
    const last = runs.at(-1);
    const {stage, position} = layer.shape;
    // The first block of a stage changes resolution, and so has no identity branch.
    if (last && last.shape.stage === stage && position > 1) last.layers.push(layer);
    else runs.push({shape: layer.shape, layers: [layer]});
  }
  return runs;
}

function describe({numBlocks, widths}: Architecture, {total}: NetworkStatistics): string {
  return (
    `Five stages of ${[1, ...numBlocks].join(', ')} blocks with ${widths.join(', ')} channels. As trained, blocks have ` +
    `a 3x3, a 1x1 and mostly an identity branch, ${formatCount(total.trainParameters)} parameters; fused, each is one 3x3 ` +
    `convolution, ${formatCount(total.deployParameters)} parameters.`
  );
}

function drawHeader(caption: string, {total}: NetworkStatistics, inputSize: number): string {
  const column = (x: number, name: string, parameters: number): string =>
    svgText(x, 52, name, {weight: 'bold', fontSize: 15}) +
    svgText(x, 70, `${formatCount(parameters)} parameters`, {fill: softInk});
  return (
    svgText(size.width / 2, 26, caption, {weight: 'bold', fontSize: 17}) +
    column(size.train, 'as it is trained', total.trainParameters) +
    column(size.deploy, 'as it runs, fused', total.deployParameters) +
    svgText(16, 88, `input ${inputSize} x ${inputSize} x 3`, {anchor: 'start', fill: softInk}) +
    arrow(size.train, 76, size.header) +
    arrow(size.deploy, 76, size.header)
  );
}

/** Where the parts of a run are drawn. */
interface Place {
  top: number;
  /** Of the convolutions. */
  middle: number;
  /** Of the sum of the branches. */
  sum: number;
}

function drawRun(run: Run, {squeezeExcite}: Architecture, top: number): string {
  const place = {top, middle: top + 14 + size.boxHeight / 2, sum: top + 74};
  const steps: Record<string, string[]> = {'before-relu': ['SE', 'ReLU'], 'after-relu': ['ReLU', 'SE']};
  const tail = steps[squeezeExcite?.position ?? ''] ?? ['ReLU'];
  const from = size.train + branchAt.identity + 40;
  const to = size.deploy - (run.layers.length > 1 ? 110 : 80);
  return [
    drawNotes(run, top),
    drawTrained(run, place, tail),
    drawFused(run, place, tail),
    `<path d="M${from},${place.middle} H${to}" stroke="${softInk}" stroke-dasharray="3 4" fill="none"/>`,
  ].join('\n');
}

function drawNotes({shape, layers}: Run, top: number): string {
  const last = layers.at(-1)!;
  const several = layers.length > 1;
  const notes = [
    [several ? `${blockName(shape)} to ${last.shape.position}` : blockName(shape), {weight: 'bold'}],
    [several ? `${layers.length} such blocks` : `${shape.inChannels} to ${shape.outChannels} channels`, {}],
    [shape.stride === 2 ? 'stride 2' : groupsNote(layers), {}],
    [`${last.height} x ${last.width} x ${shape.outChannels}`, {fill: softInk}],
  ] as const;
  return notes
    .filter(([note]) => note !== '')
    .map(([note, style], i) => svgText(16, top + 24 + i * 18, note, {anchor: 'start', ...style}))
    .join('\n');
}

/** The branches of a run as it is trained, their sum, and what follows it. */
function drawTrained({shape, layers}: Run, {top, middle, sum}: Place, tail: string[]): string {
  const x = size.train;
  const branch = (at: number): string =>
    line(`M${x},${top} H${at} V${top + 14}`) + line(`M${at},${top + 14 + size.boxHeight} V${sum} H${x + 9}`);
  const [pointwise, identity] = [x + branchAt.pointwise, x + branchAt.identity];
  return [
    shape.identity
      ? line(`M${x},${top} H${identity} V${sum} H${x + 9}`, colours.identity) +
        box(identity, middle, 'BN', colours.identity, 44)
      : '',
    branch(pointwise),
    line(`M${x},${top} V${sum - 9}`),
    box(x, middle, '3x3, BN', colours[3]),
    box(pointwise, middle, '1x1, BN', colours[1], 76),
    `<circle cx="${x}" cy="${sum}" r="9" fill="white" stroke="${ink}"/>`,
    svgText(x, sum + 4.5, '+', {weight: 'bold'}),
    line(`M${x},${sum + 9} V${sum + 18}`),
    drawEnd(layers, x, {top, middle, sum}, tail, 'trainParameters'),
  ].join('\n');
}

function drawFused({layers}: Run, place: Place, tail: string[]): string {
  return [
    line(`M${size.deploy},${place.top} V${place.sum + 18}`),
    box(size.deploy, place.middle, '3x3, bias', colours[3]),
    drawEnd(layers, size.deploy, place, tail, 'deployParameters'),
  ].join('\n');
}

/** What both forms have: how many blocks there are, what follows the convolutions, and the parameters. */
function drawEnd(
  layers: readonly LayerStatistics[],
  x: number,
  {top, middle, sum}: Place,
  tail: string[],
  form: 'trainParameters' | 'deployParameters',
): string {
  const width = tail.length > 1 ? 50 : 64;
  const steps = tail.map((label, i) => {
    const fill = label === 'SE' ? colours.squeeze : colours.plain;
    return box(x + (i - (tail.length - 1) / 2) * (width + 4), sum + 30, label, fill, width);
  });
  const parameters = layers.reduce((total, layer) => total + layer[form], 0);
  const note = {anchor: 'start', fill: softInk, fontSize: 11} as const;
  return [
    layers.length > 1 ? svgText(x - 84, middle + 5, `${layers.length} ×`, {weight: 'bold'}) : '',
    ...steps,
    arrow(x, sum + 42, top + size.row),
    svgText(x + 74, sum + 34, `${formatCount(parameters)} parameters`, note),
  ].join('\n');
}

/** The groups of a run: all alike, or in turn as in B1g4. */
function groupsNote(layers: readonly LayerStatistics[]): string {
  const [first, ...others] = [...new Set(layers.map(({shape}) => shape.groups))];
  if (others.length > 0) return `groups ${[first, ...others].join(' and ')} in turn`;
  return first === 1 ? '' : `groups ${first}`;
}

function drawFooter(
  {numClasses, widths}: Architecture,
  {total, convolutions}: NetworkStatistics,
  top: number,
): string {
  const parameters = total.deployParameters - convolutions.deployParameters;
  const column = (x: number): string =>
    box(x, top + 16, 'global average', colours.plain) +
    (numClasses > 0
      ? line(`M${x},${top + 30} V${top + 44}`) + box(x, top + 58, 'linear', colours.plain)
      : '');
  const output = numClasses > 0 ? `linear, ${widths[4]} to ${numClasses}` : `${widths[4]} features`;
  return (
    column(size.train) +
    column(size.deploy) +
    svgText(16, top + 62, output, {anchor: 'start', weight: 'bold'}) +
    (numClasses > 0
      ? svgText(size.deploy + 74, top + 62, `${formatCount(parameters)} parameters`, {
          anchor: 'start',
          fill: softInk,
          fontSize: 11,
        })
      : '') +
    svgText(
      16,
      top + 108,
      'BN is batch normalisation. Convolution is linear, so the sum of the branches is one 3x3 kernel with a bias.',
      {
        anchor: 'start',
        fill: softInk,
      },
    ) +
    svgText(
      16,
      top + 128,
      `${(total.macs / 1e9).toPrecision(3)} billion multiply-accumulates for an image, fused (the paper's FLOPs)`,
      {anchor: 'start', fill: softInk},
    )
  );
}

/** A rounded box around a label; white on strong colours. */
function box(x: number, y: number, label: string, fill: string, width: number = size.box): string {
  const height = size.boxHeight - (fill === colours.plain ? 4 : 0);
  const onFill = fill === colours.plain ? ink : 'white';
  return (
    `<rect x="${x - width / 2}" y="${y - height / 2}" width="${width}" height="${height}" rx="5" fill="${fill}" stroke="${fill === colours.plain ? '#bbb' : fill}"/>` +
    svgText(x, y + 4.5, label, {fill: onFill})
  );
}

function line(path: string, stroke: string = ink): string {
  return `<path d="${path}" fill="none" stroke="${stroke}"/>`;
}

function arrow(x: number, from: number, to: number): string {
  return (
    line(`M${x},${from} V${to - 4}`) +
    `<path d="M${x - 4},${to - 7} L${x},${to} L${x + 4},${to - 7} Z" fill="${ink}"/>`
  );
}
