import {type Architecture, architectureByName, architectureNames} from '../architecture.ts';
import {invalidArgument} from '../errors.ts';
import {native} from '../native/addon.ts';
import {
  chooseDevice,
  type DeviceList,
  type DeviceName,
  type Placement,
  type Precision,
} from '../native/device.ts';
import type {Form} from '../network.ts';
import {defaultPreprocessing} from '../preprocessing.ts';
import type {Contestant} from './measure.ts';
import {type BenchResult, type PeerName, peerNames, type Stage} from './results.ts';
import {
  type Engine,
  type NetworkCase,
  openDecode,
  openEngine,
  openPipeline,
  openPreprocess,
} from './stages.ts';

/** What to measure. */
export interface Selection {
  /** Official variants, or "all". */
  models: readonly string[];
  stages: readonly Stage[];
  batches: readonly number[];
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  threads: number;
  /** Other runtimes to measure in the same rounds. */
  peers: readonly PeerName[];
}

/** A selection with names resolved on this machine. */
export interface Plan extends Omit<Selection, 'models' | 'device' | 'precision'> {
  architectures: readonly Architecture[];
  placement: Placement;
}

/** One thing to time. */
export interface Case extends Pick<BenchResult, 'stage' | 'batch' | 'threads'> {
  /** null for decode and preprocess. */
  network: NetworkCase | null;
  open(folder: string): Promise<Contestant | Engine>;
}

/**
 * Resolves the names of a selection, before anything is measured.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for an unknown model or peer, ERR_DEVICE_UNAVAILABLE
 */
export function planBench({models, device, precision, ...rest}: Selection): Plan {
  const unknown = rest.peers.find(name => !peerNames.includes(name));
  if (unknown !== undefined) throw invalidArgument('peers', peerNames.join(', '), unknown);
  const names = models.includes('all') ? architectureNames : models;
  return {
    ...rest,
    // A network may be named twice, by its short and its full name.
    architectures: [...new Set(names.map(name => architectureByName(name)))],
    placement: chooseDevice(device, precision),
  };
}

export function* listCases({
  architectures,
  stages,
  batches,
  form,
  placement,
  threads,
}: Plan): Generator<Case> {
  // These use the threads that prepare images, independent of those of the network.
  const alone = {batch: 1, network: null, threads: native().cpuInfo().threads};
  const preprocessing = defaultPreprocessing(architectures[0]!);
  if (stages.includes('decode')) yield {...alone, stage: 'decode', open: () => openDecode(preprocessing)};
  if (stages.includes('preprocess'))
    yield {...alone, stage: 'preprocess', open: () => openPreprocess(preprocessing)};
  for (const architecture of architectures) {
    const networkOf = (batch: number): NetworkCase => ({...placement, architecture, form, batch, threads});
    for (const batch of stages.includes('engine') ? batches : []) {
      const network = networkOf(batch);
      yield {stage: 'engine', batch, threads, network, open: () => openEngine(network)};
    }
    if (stages.includes('pipeline') && form === 'deploy') {
      const network = networkOf(Math.max(...batches));
      const open = (folder: string): Promise<Contestant> => openPipeline(network, folder);
      yield {stage: 'pipeline', batch: network.batch, threads, network, open};
    }
  }
}

export function titleOf({stage, network, batch}: Case): string {
  return network ? `${network.architecture.name} ${stage} batch ${batch}` : stage;
}
