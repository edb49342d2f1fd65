import {type Architecture, architectureByName, architectureNames} from '../architecture.ts';
import type {FetchOptions} from '../hub/fetch.ts';
import {namesArchitecture} from '../loading/locate.ts';
import {openNetwork} from '../loading/open_network.ts';
import type {Form, NetworkParameters} from '../network.ts';
import {
  checkPreprocessing,
  completePreprocessing,
  defaultPreprocessing,
  type Preprocessing,
  type PreprocessingOptions,
} from '../preprocessing.ts';
import {randomNetwork} from './workload.ts';

/** A network to measure. */
export interface BenchModel {
  /** The full name of a variant, or a checkpoint as it was named. */
  name: string;
  architecture: Architecture;
  preprocessing: Preprocessing;
  /** The file of a checkpoint; null for a variant, which has random weights. */
  file: string | null;
}

/** The official variants in short. */
const allVariants = 'all';

/** A variant with random weights. */
export function variant(name: string): BenchModel {
  const architecture = architectureByName(name);
  const preprocessing = defaultPreprocessing(architecture);
  return {name: architecture.name, architecture, preprocessing, file: null};
}

/**
 * The networks of these names, variants or checkpoints, each once.
 *
 * @throws {RepVGGError} ERR_ARCHITECTURE_UNKNOWN; the codes of reading a checkpoint; ERR_INVALID_ARGUMENT for the train form of a fused one
 */
export async function findModels(
  names: readonly string[],
  form: Form,
  preprocessing: Input,
  progressOf?: ProgressOf,
): Promise<BenchModel[]> {
  const models = new Map<string, BenchModel>();
  for (const name of names.flatMap(one => (one === allVariants ? architectureNames : one))) {
    const model = namesArchitecture(name) ? variant(name) : await fromCheckpoint(name, form, progressOf);
    const own = model.preprocessing;
    const given = preprocessing(model.name);
    checkPreprocessing(given);
    const changed = given !== undefined && given.crop !== own.crop;
    models.set(model.name, changed ? {...model, preprocessing: completePreprocessing(given, own)} : model);
  }
  return [...models.values()];
}

/** What makes another input of images than a network's own, by its name. */
export type Input = (model: string) => PreprocessingOptions | undefined;

/** What is told how far the download of a model is. */
export type ProgressOf = (name: string) => FetchOptions['onProgress'];

async function fromCheckpoint(
  name: string,
  form: Form,
  progressOf: ProgressOf | undefined,
): Promise<BenchModel> {
  await using opened = await openNetwork(name, {onProgress: progressOf?.(name)});
  opened.parameters().blocks(form); // Throws at once if there is no such form.
  const {architecture, file} = opened;
  return {name, architecture, preprocessing: await opened.preprocessing(), file: file.path};
}

/** Calls `use` with the parameters of a network, whose file is open meanwhile. */
export async function withParameters<Result>(
  {architecture, file}: Pick<BenchModel, 'architecture' | 'file'>,
  form: Form,
  use: (network: NetworkParameters) => Promise<Result>,
): Promise<Result> {
  if (file === null) return use(randomNetwork(architecture, form));
  await using opened = await openNetwork(file);
  return await use(opened.parameters());
}
