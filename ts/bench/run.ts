import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {type Architecture, architectureByName, architectureNames} from '../architecture.ts';
import {chooseDevice, type DeviceList, type DeviceName, type Precision} from '../device.ts';
import {type NativeLimits, native} from '../native.ts';
import type {Form} from '../network.ts';
import {defaultPreprocessing} from '../preprocessing.ts';
import {layerTable} from '../statistics.ts';
import {type DescribedNetwork, layersOf} from './layers.ts';
import {describeMachine, gpuIndex, joulesBetween, readEnergy, readGpuEnergy} from './machine.ts';
import {type Contestant, interleave, type Rounds} from './measure.ts';
import {openPeers, type Peer, type Peers} from './peers.ts';
import {
  type BenchLimits,
  type BenchReport,
  type BenchResult,
  median,
  noisySpread,
  type Range,
  rangeOf,
  type Stage,
  spreadOf,
} from './results.ts';
import {
  type Engine,
  type NetworkCase,
  openDecode,
  openEngine,
  openPipeline,
  openPreprocess,
} from './stages.ts';

export interface BenchOptions {
  /** Official variants, or "all". */
  models: readonly string[];
  stages: readonly Stage[];
  batches: readonly number[];
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  threads: number;
  /** To measure one contestant of one case, in seven rounds. */
  seconds: number;
  /** Names of peers to measure beside us; see {@link openPeers}. */
  peers: readonly string[];
  /** Whether to report each layer. */
  layers: boolean;
  /** Unless Infinity: no case begins after this many seconds, and none whose batch takes longer than `seconds`. */
  limitSeconds: number;
  version: string;
  onProgress(message: string): void;
}

/** One case of the run: what is timed, and against whom. */
interface Case extends Pick<BenchResult, 'stage' | 'batch' | 'threads'> {
  /** null for decode and preprocess. */
  network: NetworkCase | null;
  peers: readonly Peer[];
  open(): Promise<Contestant | Engine>;
}

/** Of whom, and in what, the limits are measured. */
type LimitsOf = Pick<
  Parameters<ReturnType<typeof native>['measureLimits']>[0],
  'device' | 'precision' | 'threads'
>;

const rounds = 7;
const limitsSeconds = 0.2;
const countedRuns = 5;
/** Of the reference before each round. */
const referenceSeconds = 0.03;

/** Measures what is asked for, case by case. Nothing else should be running on the machine. */
export async function runBench(options: BenchOptions): Promise<BenchReport> {
  const {threads, onProgress, version} = options;
  const {models, form, stages} = options;
  const architectures = [
    ...new Set((models.includes('all') ? architectureNames : models).map(name => architectureByName(name))),
  ];
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-bench-'));
  const skipped: string[] = [];
  const results: BenchResult[] = [];
  const described: DescribedNetwork[] = [];
  let peers: Peers | undefined;
  let failure: unknown;
  try {
    // Random weights as trained and random weights as fused are two networks.
    const fused = form === 'deploy';
    if (!fused && stages.includes('pipeline')) skipped.push('pipeline: only the fused form has one.');
    if (!fused && options.peers.length > 0) skipped.push('peers: they run the fused form only.');
    onProgress('limits of this machine');
    const {device, precision} = chooseDevice(options.device, options.precision);
    const subject = {device: device.members[0]!, precision, threads};
    const references = [await native().measureLimits({...subject, seconds: limitsSeconds, copy: true})];
    const subjectOfPeers = {device: device.backend, precision};
    peers = await openPeers(fused ? options.peers : [], subjectOfPeers, folder, threads, skipped);
    const end = performance.now() + 1000 * options.limitSeconds;
    for (const one of listCases(options, architectures, peers.list, folder)) {
      if (performance.now() > end) {
        skipped.push(`${title(one)}: the run has taken ${options.limitSeconds} seconds already.`);
        continue;
      }
      onProgress(title(one));
      let outcome: BenchResult[] | string;
      try {
        outcome = await measureCase(one, options, subject, references, described, skipped);
      } catch (error) {
        // One network that does not fit, or a peer that dies, does not take the other results with it.
        failure ??= error;
        outcome = (error as Error).message;
      }
      if (typeof outcome === 'string') skipped.push(`${title(one)}: ${outcome}`);
      else results.push(...outcome);
    }
    if (failure !== undefined && results.length === 0) throw failure;
    const limits = summarise(references, threads, await peers.gemmGflops());
    return {
      machine: describeMachine(),
      version,
      date: new Date().toISOString(),
      peers: peers.versions,
      results,
      limits,
      ...(options.layers && {layers: described.map(one => layersOf(one, limits))}),
      skipped,
    };
  } finally {
    await peers?.close();
    await rm(folder, {recursive: true});
  }
}

function* listCases(
  options: BenchOptions,
  architectures: readonly Architecture[],
  peers: readonly Peer[],
  folder: string,
): Generator<Case> {
  const {stages, batches, threads, form} = options;
  const placement = chooseDevice(options.device, options.precision);
  // These have the threads that images are prepared on, whatever the network has.
  const alone = {batch: 1, network: null, peers: [], threads: native().cpuInfo().threads};
  const preprocessing = defaultPreprocessing(architectures[0]!);
  if (stages.includes('decode')) yield {...alone, stage: 'decode', open: () => openDecode(preprocessing)};
  if (stages.includes('preprocess'))
    yield {...alone, stage: 'preprocess', open: () => openPreprocess(preprocessing)};
  for (const architecture of architectures) {
    const networkOf = (batch: number): NetworkCase => ({...placement, architecture, form, batch, threads});
    for (const batch of stages.includes('engine') ? batches : []) {
      const network = networkOf(batch);
      yield {stage: 'engine', batch, threads, network, peers, open: () => openEngine(network)};
    }
    if (stages.includes('pipeline') && form === 'deploy') {
      const network = networkOf(Math.max(...batches));
      const open = (): Promise<Contestant> => openPipeline(network, folder);
      yield {stage: 'pipeline', batch: network.batch, threads, network, peers: [], open};
    }
  }
}

function title({stage, network, batch}: Case): string {
  return network ? `${network.architecture.name} ${stage} batch ${batch}` : stage;
}

/** Returns the results of all contestants, or why there are none. */
async function measureCase(
  one: Case,
  {seconds, layers, limitSeconds, onProgress}: BenchOptions,
  subject: LimitsOf,
  references: NativeLimits[],
  described: DescribedNetwork[],
  skipped: string[],
): Promise<BenchResult[] | string> {
  const opened: {contestant: Contestant; peer: Peer | null; outputError: number | null}[] = [];
  try {
    const ours = await one.open();
    opened.push({contestant: ours, peer: null, outputError: null});
    await ours.sample(0); // The first run also touches memory for the first time.
    const runSeconds = one.batch / (await ours.sample(0));
    if (runSeconds > seconds && limitSeconds < Infinity) {
      return `one batch takes ${runSeconds.toFixed(1)} seconds; with --seconds it is measured.`;
    }
    if ('logits' in ours) {
      for (const peer of one.peers) {
        onProgress(`${title(one)}, beside ${peer.runner} ${peer.precision}`);
        const other = await peer.open(one.network!, ours);
        if (typeof other === 'string')
          skipped.push(`${peer.runner} ${peer.precision}, ${title(one)}: ${other}`);
        else opened.push({...other, peer});
      }
    }
    const schedule = {
      rounds,
      sampleSeconds: seconds / rounds,
      // Beside peers every round counts; alone, a slow machine does with fewer.
      limitSeconds: opened.length > 1 ? Infinity : 1.5 * seconds,
    };
    const measured = await interleave(
      opened.map(({contestant}) => contestant),
      schedule,
      () => native().measureLimits({...subject, seconds: referenceSeconds, copy: false}),
    );
    const joules = await joulesPerImage(ours, schedule.sampleSeconds, one.network?.device.members);
    const onCpu = one.network?.device.name === 'cpu' && 'logits' in ours;
    const instructions = onCpu ? await instructionsPerImage(ours, one.batch) : null;
    references.push(...measured.references);
    if (layers && 'describe' in ours)
      described.push({network: one.network!, description: await ours.describe()});
    return opened.map(({peer, outputError}, index) =>
      toResult(one, peer, outputError, measured, index, {joules, instructions}),
    );
  } finally {
    for (const {contestant} of opened) await contestant.close();
  }
}

/** What was counted of ours, besides time; null where there is no counter. */
interface Counted {
  joules: number | null;
  instructions: Range | null;
}

/** Of some more runs. What else the process does is in it, and threads that wait for others: the least of them has least of that. */
async function instructionsPerImage(engine: Contestant, batch: number): Promise<Range | null> {
  const counts: number[] = [];
  for (let run = 0; run < countedRuns; run++) {
    const stop = native().countInstructions();
    if (!stop) return null;
    await engine.sample(0); // One batch.
    counts.push(stop() / batch);
  }
  return rangeOf(counts);
}

/** Of one more sample after the rounds, so that peers and references have no part in it. */
async function joulesPerImage(
  contestant: Contestant,
  seconds: number,
  devices: readonly string[] | undefined,
): Promise<number | null> {
  const gpus = devices?.filter(name => name !== 'cpu').map(gpuIndex) ?? [];
  const read = gpus.length > 0 ? () => readGpuEnergy(gpus) : readEnergy;
  const before = read();
  if (before.length === 0) return null;
  const start = performance.now();
  const rate = await contestant.sample(seconds);
  const joules = joulesBetween(before, read());
  return joules === null ? null : joules / ((rate * (performance.now() - start)) / 1000);
}

function toResult(
  {network, stage, batch, threads}: Case,
  peer: Peer | null,
  outputError: number | null,
  {images, references}: Rounds<NativeLimits>,
  index: number,
  {joules, instructions}: Counted,
): BenchResult {
  const rates = images[index]!;
  const imagesPerSecond = rangeOf(rates);
  const spread = spreadOf(imagesPerSecond);
  const precision = peer?.precision ?? network?.precision ?? 'uint8';
  const device = network?.device.name ?? 'cpu';
  const gflops = network ? (2 * imageMacs(network.architecture)) / 1e9 : null;
  const peaks = references.map(({fmaGflops, matrixGflops}) =>
    precision === 'fp32' ? fmaGflops : matrixGflops,
  );
  const fractions = gflops === null ? [] : rates.map((rate, i) => (rate * gflops) / (peaks[i] ?? Number.NaN));
  const fractionRange = fractions.length > 0 && fractions.every(Number.isFinite) ? rangeOf(fractions) : null;
  return {
    runner: peer?.runner ?? 'repvgg',
    model: network?.architecture.name ?? null,
    form: network?.form ?? 'deploy',
    stage,
    device,
    precision,
    batch,
    threads,
    imagesPerSecond,
    latencyMs: (1000 * batch) / imagesPerSecond.median,
    effectiveTflops: gflops === null ? null : (imagesPerSecond.median * gflops) / 1000,
    fractionOfPeak: fractionRange?.median ?? null,
    fractionRange,
    spread,
    noisy: spread > noisySpread,
    ratio: peer ? rangeOf(rates.map((rate, i) => images[0]![i]! / rate)) : null,
    outputError,
    memoryBytes: peer ? null : memoryInUse(network?.device.members[0]),
    joulesPerImage: peer ? null : joules,
    instructionsPerImage: peer ? null : instructions,
  };
}

function memoryInUse(device = 'cpu'): number | null {
  return device === 'cpu' ? process.memoryUsage.rss() : native().cudaCounters(gpuIndex(device)).memoryBytes;
}

function imageMacs(architecture: Architecture): number {
  const {crop} = defaultPreprocessing(architecture);
  return layerTable(architecture, {height: crop, width: crop}).total.macs;
}

function summarise(
  references: readonly NativeLimits[],
  threads: number,
  gemmGflops: number | null,
): BenchLimits {
  const fma = rangeOf(references.map(({fmaGflops}) => fmaGflops));
  const matrix = references.flatMap(({matrixGflops}) => matrixGflops ?? []);
  const [{instructionSet, copyGBps, l2GBps}] = references as [NativeLimits];
  return {
    threads,
    instructionSet,
    fmaGflops: fma.median,
    fma,
    gemmGflops,
    matrixTflops: matrix.length > 0 ? median(matrix) / 1000 : null,
    copyGBps,
    l2GBps,
  };
}
