import {basename} from 'node:path';
import type {Command} from 'commander';
import type {Architecture} from '../architecture.ts';
import type {NetworkDescription} from '../native/addon.ts';
import {
  chooseDevice,
  type Device,
  type DeviceList,
  type DeviceName,
  type Precision,
} from '../native/device.ts';
import {type LayerStatistics, layerTable, type NetworkStatistics} from '../statistics.ts';
import {clause, formatCount} from '../support/plain_text.ts';
import {append, checkReplaceable, replaceFile} from '../support/replace_file.ts';
import {drawNetwork} from './figure.ts';
import type {CheckpointInfo} from './identify.ts';
import {
  batchSizeOption,
  deviceOption,
  endsIn,
  epsOption,
  jsonOption,
  parsePositiveInteger,
  precisionOption,
  refuseIgnored,
  threadsOption,
} from './options.ts';
import {oneLine, print, printJson, printTable, title} from './output.ts';

interface Flags {
  resolution?: number;
  eps?: number;
  svg?: string;
  layers?: true;
  device: DeviceName | DeviceList;
  precision: Precision;
  batchSize: number;
  threads?: number;
  json?: true;
}

/** What `--layers` adds. */
interface Running extends NetworkDescription {
  device: Device;
  precision: string;
}

const examples = `
Examples:
  $ repvgg info RepVGG-B1g4
  $ repvgg info RepVGG-A0-train.pth -r 320 --json
  $ repvgg info RepVGG-A0-train.pth --svg RepVGG-A0.svg
  $ repvgg info digits --layers --batch-size 8`;

export function addInfo(program: Command): void {
  program
    .command('info')
    .description('show what a checkpoint contains, layer by layer, and what it costs to run')
    .argument('<model>', 'a checkpoint, "digits", or the name of an architecture')
    .option(
      '-r, --resolution <pixels>',
      "height and width of the input (default: the file's or the variant's)",
      parsePositiveInteger,
    )
    .addOption(epsOption())
    .option('--svg <file>', 'draw the train form and the fused form side by side', endsIn('.svg'))
    .option('--layers', 'show which algorithm each layer uses on --device, and why')
    .addOption(deviceOption())
    .addOption(precisionOption())
    .addOption(batchSizeOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action(info);
}

async function info(model: string, flags: Flags, command: Command): Promise<void> {
  if (!flags.layers)
    refuseIgnored(command, ['device', 'precision', 'batchSize', 'threads'], "needs '--layers'");
  const {resolution, eps, svg, json} = flags;
  if (svg !== undefined) await checkReplaceable(svg);
  const {identify} = await import('./identify.ts');
  const {architecture, checkpoint, crop} = await identify(model, eps);
  const size = resolution ?? crop;
  const input = {height: size, width: size};
  const statistics = layerTable(architecture, input);
  if (svg !== undefined) {
    const picture = Buffer.from(drawNetwork(architecture, size, basename(model)));
    await replaceFile(svg, file => append(file, picture));
  }
  const running = flags.layers && (await describeRunning(architecture, size, flags));
  if (json) return printJson({architecture, checkpoint, input, ...statistics, ...(running && {running})});
  await printSummary(architecture, checkpoint, size);
  await (running ? printRunning(running, statistics) : printLayers(architecture, statistics));
  if (svg !== undefined) await print(`\nwrote ${svg}`);
}

async function printSummary(
  architecture: Architecture,
  checkpoint: CheckpointInfo | null,
  size: number,
): Promise<void> {
  const {numBlocks, widths, groups, numClasses, squeezeExcite} = architecture;
  const se = squeezeExcite
    ? `, squeeze-and-excite 1/${squeezeExcite.reduction} ${squeezeExcite.position}`
    : '';
  await printTable('ll', [
    ['architecture', title(architecture)],
    ['blocks', `1 + ${numBlocks.join(' + ')}`],
    ['channels', `${widths.join(', ')}${groups > 1 ? `, groups ${groups}` : ''}${se}`],
    ['classes', numClasses === 0 ? 'none, a backbone' : formatCount(numClasses)],
    ['input', `${size} x ${size}`],
    ...(checkpoint
      ? [
          ['file', oneLine(`${checkpoint.path} (${checkpoint.format}, ${checkpoint.tensors} tensors)`)],
          ['names', checkpoint.names],
          ['form', describeForm(checkpoint, architecture)],
          ...(checkpoint.eps === null ? [] : [['epsilon', checkpoint.eps.toExponential()]]),
        ]
      : []),
  ]);
  await print();
}

function describeForm({form, fusedBlocks}: CheckpointInfo, {numBlocks}: Architecture): string {
  if (form === 'train') return 'train (three branches)';
  const blocks = numBlocks.reduce((a, b) => a + b, 1);
  return fusedBlocks === blocks ? 'deploy (fused)' : `deploy (${fusedBlocks} of ${blocks} blocks fused)`;
}

async function printLayers(
  architecture: Architecture,
  {layers, convolutions, total, peakActivations}: NetworkStatistics,
): Promise<void> {
  const linear = [
    'linear',
    `${architecture.widths[4]} -> ${architecture.numClasses}`,
    '',
    formatCount(total.deployParameters - convolutions.deployParameters),
    formatCount(total.macs - convolutions.macs),
    '',
  ];
  await printTable('lllrrr', [
    ['layer', 'channels', 'output', 'parameters', 'MACs', 'Winograd MULs'],
    ...layers.map(layer => [
      layer.name,
      channels(layer),
      `${layer.height} x ${layer.width}`,
      formatCount(layer.deployParameters),
      formatCount(layer.macs),
      formatCount(layer.winogradMultiplies),
    ]),
    ...(architecture.numClasses > 0 ? [linear] : []),
  ]);
  await print();
  await printTable('lr', [
    ['parameters as trained', formatCount(total.trainParameters)],
    ['parameters fused', formatCount(total.deployParameters)],
    ["the paper's FLOPs (multiply-accumulates)", `${billions(total.macs)} B`],
    ["the paper's Wino MULs (convolutions only)", `${billions(convolutions.winogradMultiplies)} B`],
    ['weights fused, in fp32', `${megabytes(4 * total.deployParameters)} MB`],
    ['activations of an image, in fp32', `${megabytes(4 * peakActivations)} MB`],
  ]);
}

async function describeRunning(
  architecture: Architecture,
  size: number,
  {device, precision, batchSize, threads}: Flags,
): Promise<Running> {
  const placement = chooseDevice(device, precision);
  const {describeLayers} = await import('./running_layers.ts');
  const options = {batchSize, ...(threads && {threads})};
  return {...placement, ...(await describeLayers(architecture, size, placement, options))};
}

async function printRunning(running: Running, {layers}: NetworkStatistics): Promise<void> {
  const {device, precision, batchSize} = running;
  await print(`on ${device.name} (${clause(device.reason)}), ${precision}, up to ${batchSize} at a time`);
  await print();
  const measured = running.layers.some(({microseconds}) => Object.keys(microseconds).length > 0);
  await printTable(measured ? 'lllllrr' : 'lllll', [
    ['layer', 'channels', 'output', 'algorithm', 'source', ...(measured ? ['us', 'TFLOP/s'] : [])],
    ...layers.map((layer, i) => {
      const {algorithm, source, microseconds} = running.layers[i]!;
      const time = microseconds[algorithm];
      const rate = time && (2 * layer.macs * batchSize) / time / 1e6;
      return [
        layer.name,
        channels(layer),
        `${layer.height} x ${layer.width}`,
        algorithm,
        source,
        ...(measured ? [time?.toFixed(1) ?? '', rate?.toFixed(1) ?? ''] : []),
      ];
    }),
  ]);
}

function channels({shape: {inChannels, outChannels, stride, groups}}: LayerStatistics): string {
  const notes = [stride === 2 ? 'stride 2' : '', groups > 1 ? `groups ${groups}` : ''].filter(Boolean);
  return [`${inChannels} -> ${outChannels}`, ...notes].join(', ');
}

function billions(value: number): string {
  return (value / 1e9).toFixed(value < 1e7 ? 6 : 3);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1);
}
