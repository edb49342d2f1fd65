import type {Floats} from '../network.ts';
import type {PreprocessingOptions} from '../preprocessing.ts';
import type {DType} from './element_types.ts';
import type {FileRange} from './file.ts';

/** One tensor of a checkpoint: what it is, and how to get its values. Nothing is read until {@link read} is called. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /**
   * Reads the values in row-major order, whatever the storage's strides, offset and byte order: f64 as
   * Float64Array, every other type as Float32Array (exact for f32, f16, bf16 and for integers up to 2^24). Each call makes
   * an array of its own.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED, ERR_CHECKPOINT_CORRUPT or ERR_FILE_READ
   */
  read(): Promise<Floats>;
  /**
   * Where in a file the values are. There only where they lie there as `read` returns them, float32 in this machine's byte
   * order, for somebody who reads large tensors by other means. Throws as `read` does.
   */
  readonly locate?: (() => Promise<FileRange>) | undefined;
}

/** What a container holds. */
export interface StateDict {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** What batch normalisation adds to variances, where the file says it: ONNX, and whole modules of PyTorch. */
  readonly eps?: number | undefined;
  /** How images become the network's input, in files that say so: ONNX. */
  readonly preprocessing?: PreprocessingOptions | undefined;
}

/** An open checkpoint file. Tensors are read one by one, so memory stays near the largest tensor. */
export interface Checkpoint extends StateDict, AsyncDisposable {
  readonly path: string;
  /** The container, for people: "PyTorch zip", "PyTorch legacy". */
  readonly format: string;
  /** The tensors of the state dict, wrappers (`state_dict`, `model`, EMA) and `module.` prefixes removed. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** @throws {RepVGGError} ERR_FILE_READ when somebody has written to its files since it was opened */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}
