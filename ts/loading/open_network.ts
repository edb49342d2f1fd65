import type {Architecture} from '../architecture.ts';
import type {Checkpoint} from '../checkpoint/checkpoint.ts';
import type {KernelFusion} from '../checkpoint/kernel_fusion.ts';
import {networkOf} from '../checkpoint/network.ts';
import {openCheckpoint} from '../checkpoint/open.ts';
import type {ParameterDigest} from '../checkpoint/parameter_digest.ts';
import {checkpointStructure, type Structure, type StructureOptions} from '../checkpoint/structure.ts';
import type {FetchOptions} from '../hub/fetch.ts';
import {type ClassLabel, resolveLabels} from '../labels.ts';
import type {NetworkParameters} from '../network.ts';
import {completePreprocessing, type Preprocessing, type PreprocessingOptions} from '../preprocessing.ts';
import {locateCheckpoint} from './locate.ts';
import {type OwnUse, ownUse} from './own_use.ts';

export interface OpenOptions extends StructureOptions, Pick<FetchOptions, 'onProgress' | 'signal'> {
  /** Is told of the values of all tensors that are read. */
  digest?: ParameterDigest | undefined;
}

/**
 * Opens a checkpoint and finds the network in it, which is checked by the names and shapes of its tensors; none is read yet.
 *
 * @param name a path, "owner/name" of the hub or "digits"
 * @throws {RepVGGError} those of `locateCheckpoint`, `openCheckpoint` and `checkpointStructure`
 */
export async function openNetwork(
  name: string,
  {architecture, eps, onProgress, signal, digest}: OpenOptions = {},
): Promise<OpenNetwork> {
  const file = await openCheckpoint(await locateCheckpoint(name, {onProgress, signal}));
  try {
    const watched = digest ? {...file, tensors: digest.watch(file.tensors)} : file;
    return new OpenNetwork(name, watched, checkpointStructure(watched, {architecture, eps}));
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The network of an open checkpoint, and what comes with it. */
export class OpenNetwork implements AsyncDisposable {
  readonly file: Checkpoint;
  readonly structure: Structure;
  readonly architecture: Architecture;
  readonly #name: string;
  #own: Promise<OwnUse> | undefined;

  constructor(name: string, file: Checkpoint, structure: Structure) {
    this.#name = name;
    this.file = file;
    this.structure = structure;
    this.architecture = structure.architecture;
  }

  /** Its parameters; while they are read, it must stay open. */
  parameters(fusion?: KernelFusion): NetworkParameters {
    return networkOf(this.file, this.structure, fusion);
  }

  /** How images become its input. @throws {RepVGGError} those of `readTimmConfig` */
  async preprocessing(given?: PreprocessingOptions): Promise<Preprocessing> {
    return completePreprocessing(given, (await this.#use()).preprocessing);
  }

  /** Its classes. @throws {RepVGGError} those of `readTimmConfig`, and ERR_LABELS */
  async labels(given?: string | readonly string[]): Promise<readonly ClassLabel[]> {
    return resolveLabels(given, this.architecture.numClasses, await this.#use());
  }

  #use(): Promise<OwnUse> {
    this.#own ??= ownUse(this.#name, this.file, this.architecture);
    return this.#own;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }
}
