import {stat} from 'node:fs/promises';
import {extname} from 'node:path';
import type {Architecture} from './architecture.ts';
import {checkOptions, checkSignal} from './arguments.ts';
import {networkFromCheckpoint} from './checkpoint/network.ts';
import {openCheckpoint} from './checkpoint/open.ts';
import {checkpointStructure} from './checkpoint/structure.ts';
import {writePyTorch} from './checkpoint/write_pytorch.ts';
import {writeSafetensors} from './checkpoint/write_safetensors.ts';
import {invalidArgument} from './errors.ts';
import {locateCheckpoint} from './locate.ts';
import type {Form} from './network.ts';
import {officialStateDict} from './official_state_dict.ts';
import {layerTable} from './statistics.ts';

/** Options of {@link convertCheckpoint}. */
export interface ConvertOptions {
  /** What the checkpoint must hold: an official name, or an architecture. Default: inferred from its shapes. */
  architecture?: string | Architecture | undefined;
  /** Epsilon of the batch normalisations. Default: 1e-5; see {@link LoadOptions.eps}. */
  eps?: number | undefined;
  /** 'deploy' (default) fuses the branches; 'train' keeps them, and only names and container change. */
  form?: Form | undefined;
  /** Ends the call early: it then rejects with the signal's reason, and what was at `to` stays. */
  signal?: AbortSignal | undefined;
}

/** What {@link convertCheckpoint} did. */
export interface Conversion {
  architecture: Architecture;
  /** The form of the checkpoint that was read: 'deploy' where any of its blocks was fused. */
  storedForm: Form;
  /** The form that was written. */
  form: Form;
  /** Blocks whose branches were fused; 0 where they were fused already. */
  fusedBlocks: number;
  /** Parameters of the network that was read and of the one that was written. */
  parameters: {before: number; after: number};
  /** Size of the file written. */
  bytes: number;
}

/**
 * Fuses the branches of a checkpoint and writes the result, in the format that the new file's name asks for:
 *
 * - `.safetensors`: safetensors;
 * - anything else: a PyTorch state dict, as the official code's `tools/convert.py` writes it.
 *
 * Both have the names, shapes and order of the official network with `deploy=True` (repvgg.py, or
 * repvggplus.py where squeeze-and-excite comes after the ReLU), float32. A checkpoint that is fused already gets those
 * names and is otherwise copied, so this also turns timm's deploy form into the official one. With `form: 'train'` they
 * are those of the official network as it is trained.
 *
 * Memory stays near the largest block. `to` may be the same file as `from`: it is replaced when the new one is complete.
 *
 * @param from a checkpoint file, or "digits"
 * @throws {RepVGGError} the codes of reading a checkpoint; ERR_INVALID_ARGUMENT for `form: 'train'` of a checkpoint that is
 *   fused, and for a path that ends in `.onnx`, which `exportOnnx` writes; ERR_FILE_WRITE
 */
export async function convertCheckpoint(
  from: string,
  to: string,
  options: ConvertOptions = {},
): Promise<Conversion> {
  checkOptions(options);
  const {signal, form = 'deploy'} = options;
  if (form !== 'deploy' && form !== 'train') throw invalidArgument('form', '"deploy" or "train"', form);
  if (typeof to !== 'string' || to === '') throw invalidArgument('path', 'the path of a file to write', to);
  const extension = extname(to).toLowerCase();
  if (extension === '.onnx')
    throw invalidArgument(
      'path',
      'the path of a checkpoint to write (ONNX is written by "repvgg export" and exportOnnx)',
      to,
    );
  checkSignal(signal);
  signal?.throwIfAborted();
  await using file = await openCheckpoint(await locateCheckpoint(from, {signal}));
  const structureOptions = {architecture: options.architecture, eps: options.eps};
  const {blocks} = checkpointStructure(file, structureOptions);
  const network = networkFromCheckpoint(file, structureOptions);
  const {architecture, storedForm} = network;
  const writeStateDict = extension === '.safetensors' ? writeSafetensors : writePyTorch;
  await writeStateDict(to, await officialStateDict(network, form, signal), signal);
  const {layers, total} = layerTable(architecture, {height: 224, width: 224});
  const parameters = {train: total.trainParameters, deploy: total.deployParameters};
  const withBranches = blocks.flatMap(({form}, i) => (form === 'train' ? [layers[i]!] : []));
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
