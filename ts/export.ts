import {stat} from 'node:fs/promises';
import {extname} from 'node:path';
import type {Architecture} from './architecture.ts';
import {type OnnxSignature, writeOnnx} from './checkpoint/onnx/write_onnx.ts';
import {useMetadata} from './checkpoint/use_metadata.ts';
import {invalidArgument} from './errors.ts';
import type {ClassLabel} from './labels.ts';
import type {LoadOptions} from './loading/load_network.ts';
import {openNetwork} from './loading/open_network.ts';
import {checkPreprocessing, type Preprocessing, type PreprocessingOptions} from './preprocessing.ts';
import {checkOptions, checkSignal, type FieldNames} from './support/arguments.ts';

/** Options of {@link exportOnnx}. */
export interface OnnxExportOptions {
  /** The expected architecture, or an official name. Default: inferred from the checkpoint's shapes. */
  architecture?: string | Architecture | undefined;
  /** Epsilon of the batch normalisations. Default: 1e-5; see {@link LoadOptions.eps}. */
  eps?: number | undefined;
  /** Precision of weights and arithmetic. Default fp32. */
  precision?: 'fp32' | 'fp16' | undefined;
  /** Whether the model takes uint8 pixels, [N][crop][crop][3], and normalises them itself. Default: it takes normalised floats, [N][3][crop][crop]. */
  uint8?: boolean | undefined;
  /** Overrides fields of the checkpoint's own preprocessing, or of the variant's published one. The crop is the input size. */
  preprocessing?: PreprocessingOptions | undefined;
  /** The names of the classes, as for {@link LoadOptions.labels}. */
  labels?: string | readonly string[] | undefined;
  /** Called during a download from the hub, with the bytes received and the total. */
  onProgress?: LoadOptions['onProgress'];
  /** Aborts the call, which then rejects with the signal's reason and leaves an existing file at `to` unchanged. */
  signal?: AbortSignal | undefined;
}

const optionNames: FieldNames<OnnxExportOptions> = {
  architecture: true,
  eps: true,
  precision: true,
  uint8: true,
  preprocessing: true,
  labels: true,
  onProgress: true,
  signal: true,
};

/** The result of {@link exportOnnx}. */
export interface OnnxExport extends OnnxSignature {
  architecture: Architecture;
  precision: 'fp32' | 'fp16';
  /** How images become the model's input; also stored in the file's metadata. */
  preprocessing: Preprocessing;
  /** The classes in output order; stored in the file's metadata if they have names. Empty without a classifier. */
  labels: readonly ClassLabel[];
  /** Size of the file in bytes. */
  bytes: number;
}

/**
 * Exports a checkpoint's deploy form as an ONNX model: a chain of Conv and Relu nodes in opset 17, for any batch size. Its
 * metadata contains `repvgg.architecture` and `repvgg.preprocessing` as JSON, and the classes as `names`, a Python dict as in the
 * exports of Ultralytics. `RepVGG.load` takes preprocessing and names from there.
 *
 * @param from a checkpoint, as for `RepVGG.load`
 * @throws {RepVGGError} the codes of reading a checkpoint; ERR_INVALID_ARGUMENT for a path that does not end in
 *   `.onnx`; ERR_FILE_WRITE; ERR_CHECKPOINT_VALUE for weights beyond fp16; ERR_LABELS
 */
export async function exportOnnx(
  from: string,
  to: string,
  options: OnnxExportOptions = {},
): Promise<OnnxExport> {
  checkOptions(options, optionNames);
  const {precision = 'fp32', uint8 = false, signal} = options;
  if (precision !== 'fp32' && precision !== 'fp16')
    throw invalidArgument('precision', '"fp32" or "fp16"', precision);
  if (typeof uint8 !== 'boolean') throw invalidArgument('uint8', 'true or false', uint8);
  if (typeof to !== 'string' || extname(to).toLowerCase() !== '.onnx')
    throw invalidArgument('path', 'a file that ends in .onnx', to);
  checkPreprocessing(options.preprocessing);
  checkSignal(signal);
  signal?.throwIfAborted();
  const {architecture: expected, eps, onProgress} = options;
  await using opened = await openNetwork(from, {architecture: expected, eps, onProgress, signal});
  const {architecture} = opened;
  const preprocessing = await opened.preprocessing(options.preprocessing);
  const labels = await opened.labels(options.labels);
  const signature = await writeOnnx(to, opened.parameters(), preprocessing.crop, {
    precision,
    normalisation: uint8 ? preprocessing : undefined,
    metadata: {
      'repvgg.architecture': JSON.stringify(architecture),
      ...useMetadata(preprocessing, labels),
    },
    signal,
  });
  return {architecture, precision, preprocessing, labels, bytes: (await stat(to)).size, ...signature};
}
