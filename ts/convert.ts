import {stat} from 'node:fs/promises';
import {extname} from 'node:path';
import type {Architecture} from './architecture.ts';
import {officialStateDict} from './checkpoint/official_state_dict.ts';
import {useMetadata} from './checkpoint/use_metadata.ts';
import {writePyTorch} from './checkpoint/write_pytorch.ts';
import {writeSafetensors} from './checkpoint/write_safetensors.ts';
import {invalidArgument} from './errors.ts';
import type {LoadOptions} from './loading/load_network.ts';
import {openNetwork} from './loading/open_network.ts';
import type {Form} from './network.ts';
import {checkPreprocessing, type PreprocessingOptions} from './preprocessing.ts';
import {layerTable} from './statistics.ts';
import {checkOptions, checkSignal, type FieldNames} from './support/arguments.ts';

/** The extensions of files that {@link convertCheckpoint} writes, in lower case. */
export const writtenExtensions: readonly string[] = ['.pth', '.pt', '.bin', '.ckpt', '.safetensors'];

/** Options of {@link convertCheckpoint}. */
export interface ConvertOptions {
  /** The expected architecture, or an official name. Default: inferred from the checkpoint's shapes. */
  architecture?: string | Architecture | undefined;
  /** Epsilon of the batch normalisations. Default: 1e-5; see {@link LoadOptions.eps}. */
  eps?: number | undefined;
  /** 'deploy' (default) fuses the branches; 'train' keeps them and changes only names and container. */
  form?: Form | undefined;
  /** Overrides fields of the checkpoint's own preprocessing, or of the variant's published one. Only for `.safetensors`. */
  preprocessing?: PreprocessingOptions | undefined;
  /** The names of the classes, as for {@link LoadOptions.labels}. Only for `.safetensors`. */
  labels?: string | readonly string[] | undefined;
  /** Called during a download from the hub, with the bytes received and the total. */
  onProgress?: LoadOptions['onProgress'];
  /** Aborts the call, which then rejects with the signal's reason and leaves an existing file at `to` unchanged. */
  signal?: AbortSignal | undefined;
}

const optionNames: FieldNames<ConvertOptions> = {
  architecture: true,
  eps: true,
  form: true,
  preprocessing: true,
  labels: true,
  onProgress: true,
  signal: true,
};

/** The result of {@link convertCheckpoint}. */
export interface Conversion {
  architecture: Architecture;
  /** The form of the source checkpoint: 'deploy' if any of its blocks was fused. */
  storedForm: Form;
  /** The form that was written. */
  form: Form;
  /** The number of blocks whose branches were fused; 0 if they were fused already. */
  fusedBlocks: number;
  /** Parameter counts of the networks read and written. */
  parameters: {before: number; after: number};
  /** Size of the written file in bytes. */
  bytes: number;
}

/**
 * Fuses the branches of a checkpoint and writes the result, in a format chosen by the extension of `to`:
 *
 * - `.safetensors`: safetensors, whose metadata has the preprocessing and the names of the classes;
 * - `.pth`, `.pt`, `.bin`, `.ckpt`: a PyTorch state dict, as the official code's `tools/convert.py` writes it, which has no place for them.
 *
 * Tensors are float32, with the names, shapes and order of the official network with `deploy=True` (repvgg.py, or
 * repvggplus.py if squeeze-and-excite follows the ReLU), or with `form: 'train'` of the official network as trained. So a
 * fused checkpoint of another project, such as timm, is renamed to the official form.
 *
 * Memory use stays near the size of the largest block. `to` may be the same file as `from`, which is replaced when the new file
 * is complete.
 *
 * @param from a checkpoint file, or "digits"
 * @throws {RepVGGError} the codes of reading a checkpoint; ERR_INVALID_ARGUMENT for `form: 'train'` of a checkpoint that is
 *   fused, for a path with another extension (for `.onnx` use `exportOnnx`), and for preprocessing or labels where the file has
 *   no place for them; ERR_LABELS; ERR_FILE_WRITE
 */
export async function convertCheckpoint(
  from: string,
  to: string,
  options: ConvertOptions = {},
): Promise<Conversion> {
  checkOptions(options, optionNames);
  const {signal, form = 'deploy'} = options;
  if (form !== 'deploy' && form !== 'train') throw invalidArgument('form', '"deploy" or "train"', form);
  if (typeof to !== 'string' || to === '') throw invalidArgument('path', 'the path of a file to write', to);
  const extension = extname(to).toLowerCase();
  if (!writtenExtensions.includes(extension))
    throw invalidArgument(
      'path',
      `a file that ends in ${writtenExtensions.join(', ')} (ONNX is written by "repvgg export" and exportOnnx)`,
      to,
    );
  const keepsUse = extension === '.safetensors';
  const lost = (['preprocessing', 'labels'] as const).find(name => options[name] !== undefined);
  if (!keepsUse && lost)
    throw invalidArgument(lost, 'none, which only .safetensors files keep,', options[lost]);
  checkPreprocessing(options.preprocessing);
  checkSignal(signal);
  signal?.throwIfAborted();
  const {architecture: expected, eps, onProgress} = options;
  await using opened = await openNetwork(from, {architecture: expected, eps, onProgress, signal});
  const network = opened.parameters();
  const {architecture, storedForm} = network;
  if (keepsUse) {
    const preprocessing = await opened.preprocessing(options.preprocessing);
    const metadata = useMetadata(preprocessing, await opened.labels(options.labels));
    await writeSafetensors(to, await officialStateDict(network, form, signal), {metadata, signal});
  } else await writePyTorch(to, await officialStateDict(network, form, signal), signal);
  const {layers, total} = layerTable(architecture, {height: 224, width: 224});
  const parameters = {train: total.trainParameters, deploy: total.deployParameters};
  const withBranches = opened.structure.blocks.flatMap(({form}, i) => (form === 'train' ? [layers[i]!] : []));
  const branches = withBranches.reduce(
    (sum, {trainParameters, deployParameters}) => sum + trainParameters - deployParameters,
    0,
  );
  return {
    architecture,
    storedForm,
    form,
    fusedBlocks: form === 'deploy' ? withBranches.length : 0,
    parameters: {before: total.deployParameters + branches, after: parameters[form]},
    bytes: (await stat(to)).size,
  };
}
