import {
  type BenchLayers,
  type BenchMachine,
  type BenchReport,
  type BenchResult,
  usualCrop,
} from './results.ts';

/** The results as a table for printTable. */
export function resultTable(results: readonly BenchResult[]): {align: string; rows: string[][]} {
  const energy = results.some(({joulesPerImage}) => joulesPerImage !== null);
  const compared = results.some(({outputError}) => outputError !== null);
  const rows = results.map(result => {
    const {min, median, max} = result.imagesPerSecond;
    const {memoryBytes, joulesPerImage} = result;
    return [
      ...nameOf(result),
      rate(median),
      `${rate(min)} - ${rate(max)}${result.noisy ? ' *' : ''}`,
      result.latencyMs.toFixed(result.latencyMs < 10 ? 2 : 1),
      result.effectiveTflops?.toFixed(3) ?? '',
      result.fractionOfPeak?.toFixed(2) ?? '',
      memoryBytes === null ? '' : (memoryBytes / 1e6).toFixed(0),
      ...(energy ? [joulesPerImage === null ? '' : joulesPerImage.toPrecision(3)] : []),
      result.ratio ? `${result.ratio.median.toFixed(2)} x` : '',
      ...(compared ? [result.outputError?.toExponential(1) ?? ''] : []),
    ];
  });
  return {
    align: `llllrrlrrrrr${energy ? 'r' : ''}${compared ? 'r' : ''}`,
    rows: [
      [
        ...nameColumns,
        'images/s',
        'min - max',
        'ms/batch',
        'TFLOP/s',
        'of peak',
        'MB',
        ...(energy ? ['J/image'] : []),
        'repvgg is',
        ...(compared ? ['logits differ'] : []),
      ],
      ...rows,
    ],
  };
}

export const latencyTitle = 'Latency of one batch at a time, in ms';

/** The latencies as a table for printTable; null without any. */
export function latencyTable(results: readonly BenchResult[]): {align: string; rows: string[][]} | null {
  const rows = results.flatMap(result => {
    const {latencyPercentilesMs: latency} = result;
    if (!latency) return [];
    const shown = (value: number | null): string => value?.toFixed(value < 10 ? 2 : 1) ?? '';
    const {p50, p90, p99, runs} = latency;
    return [[...nameOf(result), shown(p50), shown(p90), shown(p99), String(runs)]];
  });
  if (rows.length === 0) return null;
  return {align: 'llllrrrrr', rows: [[...nameColumns, 'p50', 'p90', 'p99', 'runs'], ...rows]};
}

const nameColumns = ['model', 'stage', 'runner', 'precision', 'batch'];

function nameOf({model, crop, form, stage, runner, precision, batch}: BenchResult): string[] {
  const fullStage = form === 'train' ? `${stage} (train)` : stage;
  const usual = model === null ? undefined : usualCrop(model);
  const size = usual !== undefined && crop && crop !== usual ? `, ${crop} px` : '';
  return [`${model?.replace('RepVGG-', '') ?? ''}${size}`, fullStage, runner, precision, String(batch)];
}

/** The layers of one network as a table for printTable. */
export function layersTable({layers}: BenchLayers): {align: string; rows: string[][]} {
  const rows = layers.map(layer => [
    layer.name,
    `${layer.inChannels} -> ${layer.outChannels}`,
    `${layer.stride}`,
    `${layer.groups}`,
    `${layer.height}x${layer.width}`,
    layer.algorithm,
    layer.source,
    layer.microseconds?.toFixed(0) ?? '',
    layer.effectiveGflops?.toFixed(0) ?? '',
    layer.leastMicroseconds?.toFixed(0) ?? '',
    layer.reached?.toFixed(2) ?? '',
  ]);
  const head = ['layer', 'channels', 'stride', 'groups', 'output', 'algorithm', 'chosen'];
  return {
    align: 'llrrrllrrrr',
    rows: [[...head, 'us/image', 'GFLOP/s', 'least us', 'reached'], ...rows],
  };
}

export function layersTitle({model, form, device, precision, batch, threads}: BenchLayers): string {
  const shortForm = form === 'train' ? ', train form' : '';
  const onThreads = device === 'cpu' ? `, ${threads} ${threads === 1 ? 'thread' : 'threads'}` : '';
  return `${model}${shortForm} on ${device}, ${precision}, batch ${batch}${onThreads}`;
}

/** What readers of the table need to know: the limits, the meaning of its marks, what was skipped. */
export function notes({limits, machine, peers, results, skipped}: BenchReport): string[] {
  const {threads, instructionSet, fmaGflops, fma, matrixTflops, copyGBps, gemmGflops} = limits;
  const own = results.find(({runner, model}) => runner === 'repvgg' && model !== null);
  const onGpu = own !== undefined && own.device !== 'cpu';
  // For a GPU it is "sm_90, wgmma": the architecture and the instruction that computes products.
  const [instructions, unit] = instructionSet.split(', ');
  const multiplyAdds = onGpu ? `${instructions}, fp32 multiply-adds` : `fp32 ${instructions}`;
  const products = onGpu ? `${own.precision} products by ${unit}` : 'bf16 products';
  const peaks = [
    `${multiplyAdds} ${fmaGflops.toFixed(0)} GFLOP/s (${fma.min.toFixed(0)} - ${fma.max.toFixed(0)})`,
    ...(gemmGflops === null ? [] : [`fp32 matrix product ${gemmGflops.toFixed(0)} GFLOP/s`]),
    ...(matrixTflops === null ? [] : [`${products} ${matrixTflops.toFixed(2)} TFLOP/s`]),
    `copy ${copyGBps.toFixed(1)} GB/s`,
  ];
  const cores = `${machine.cpu}, ${threads} of ${machine.usableCores} cores`;
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return [
    `${onGpu ? gpusOf(own, machine) : cores}; peaks in this run: ${peaks.join(', ')}`,
    ...(versions.length > 0 ? [`peers: ${versions.join(', ')}`] : []),
    ...pipelineShares(results),
    ...(results.some(({fractionOfPeak}) => (fractionOfPeak ?? 0) > 1)
      ? [
          '"of peak" can exceed 1, because it counts direct convolutions and Winograd needs fewer multiplications',
        ]
      : []),
    ...(results.some(({noisy}) => noisy)
      ? ['* spread over 10 %: the machine was not idle; compare only ratios']
      : []),
    ...(results.some(({latencyPercentilesMs: latency}) => latency && latency.p99 === null)
      ? ['no p90 of fewer than 10 runs, and no p99 of fewer than 100: --seconds says how long to measure']
      : []),
    ...skipped.map(sentence => `skipped ${sentence}`),
  ];
}

/** The models of the GPUs in a device name such as "cuda:0,cuda:1". */
function gpusOf({device}: BenchResult, {gpus}: BenchMachine): string {
  return device
    .split(',')
    .map(name => `${gpus[Number(name.slice('cuda:'.length))] ?? 'a GPU'} (${name})`)
    .join(', ');
}

/**
 * The throughput of the pipeline relative to its slowest stage, which shows how well the stages overlap, and the number of cores needed to
 * prepare images as fast as the engine, possibly a GPU, consumes them.
 */
function pipelineShares(results: readonly BenchResult[]): string[] {
  const ours = results.filter(({runner}) => runner === 'repvgg');
  const decode = ours.find(({stage}) => stage === 'decode');
  const preprocess = ours.find(({stage}) => stage === 'preprocess');
  return ours.flatMap(pipeline => {
    const {stage, model, batch, precision, form, imagesPerSecond} = pipeline;
    if (stage !== 'pipeline' || !decode) return [];
    const engine = ours.find(
      other =>
        other.stage === 'engine' &&
        other.model === model &&
        other.batch === batch &&
        other.precision === precision &&
        other.form === form,
    );
    if (!engine) return [];
    const slower = decode.imagesPerSecond.median < engine.imagesPerSecond.median ? decode : engine;
    const share = (imagesPerSecond.median / slower.imagesPerSecond.median).toFixed(2);
    const held = `${model} pipeline: ${share} of the rate of its slower stage, ${slower.stage}`;
    if (!preprocess) return held;
    const secondsOfCore =
      decode.threads / decode.imagesPerSecond.median + preprocess.threads / preprocess.imagesPerSecond.median;
    const cores = (engine.imagesPerSecond.median * secondsOfCore).toFixed(1);
    return `${held}; ${cores} cores, at ${rate(1 / secondsOfCore)} images/s each, prepare images as fast as the engine runs`;
  });
}

function rate(value: number): string {
  return value < 100 ? value.toPrecision(3) : value.toFixed(0);
}
