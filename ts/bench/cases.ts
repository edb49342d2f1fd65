import {invalidArgument} from '../errors.ts';
import {
  chooseDevice,
  type DeviceList,
  type DeviceName,
  type Placement,
  type Precision,
} from '../native/device.ts';
import {usableCores} from '../native/usable_cores.ts';
import type {Form} from '../network.ts';
import type {Contestant} from './measure.ts';
import {type BenchModel, findModels, type Input, type ProgressOf} from './models.ts';
import type {NetworkCase} from './network.ts';
import {type BenchResult, type PeerName, peerNames, type Stage} from './results.ts';
import {type Engine, openDecode, openEngine, openPipeline, openPreprocess} from './stages.ts';

/** What to measure. */
export interface Selection {
  /** Official variants, "all" of them, or checkpoints. */
  models: readonly string[];
  preprocessing: Input;
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
export interface Plan extends Omit<Selection, 'models' | 'preprocessing' | 'device' | 'precision'> {
  models: readonly BenchModel[];
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
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for an unknown peer, the codes of `chooseDevice` and `findModels`
 */
export async function planBench(
  {models, preprocessing, device, precision, ...rest}: Selection,
  progressOf?: ProgressOf,
): Promise<Plan> {
  const unknown = rest.peers.find(name => !peerNames.includes(name));
  if (unknown !== undefined) throw invalidArgument('peers', peerNames.join(', '), unknown);
  const placement = chooseDevice(device, precision, rest.form);
  return {...rest, models: await findModels(models, rest.form, preprocessing, progressOf), placement};
}

export function* listCases({models, stages, batches, form, placement, threads}: Plan): Generator<Case> {
  // These use the threads that prepare images, independent of those of the network.
  const alone = {batch: 1, network: null, threads: usableCores()};
  const {preprocessing} = models[0]!;
  if (stages.includes('decode')) yield {...alone, stage: 'decode', open: () => openDecode(preprocessing)};
  if (stages.includes('preprocess'))
    yield {...alone, stage: 'preprocess', open: () => openPreprocess(preprocessing)};
  for (const model of models) {
    const networkOf = (batch: number): NetworkCase => ({...placement, model, form, batch, threads});
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
  return network ? `${network.model.name} ${stage} batch ${batch}` : stage;
}
