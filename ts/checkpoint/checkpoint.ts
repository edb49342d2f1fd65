import type {Floats} from '../network.ts';
import type {PreprocessingOptions} from '../preprocessing.ts';
import type {DType} from './element_types.ts';
import type {FileRange} from './file.ts';

/** A tensor of a checkpoint. Its values are not read until {@link read} is called. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /**
   * Reads the values in row-major order, whatever the storage's strides, offset and byte order: f64 as Float64Array, every
   * other type as Float32Array (exact for f32, f16, bf16 and for integers up to 2^24). The caller owns the array.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED, ERR_CHECKPOINT_CORRUPT or ERR_FILE_READ
   */
  read(): Promise<Floats>;
  /**
   * Where the values lie in a file, for reading large tensors by other means. Only there if the file stores them as `read`
   * returns them: float32 in host byte order, contiguous. Throws as `read` does.
   */
  readonly locate?: (() => Promise<FileRange>) | undefined;
}

/** The contents of a container. */
export interface StateDict {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The key of the state dict where it is one of several things in a dict, such as "ema". */
  readonly key?: string | undefined;
  /** Epsilon of the batch normalisations, if the file states it: ONNX, and pickled PyTorch modules. */
  readonly eps?: number | undefined;
  /** The preprocessing, if the file states it: ONNX, and safetensors of this package. */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** The names of the classes, if the file states them: the same. */
  readonly labels?: readonly string[] | undefined;
}

/** An open checkpoint. Tensors are read one at a time, so memory stays near the size of the largest. */
export interface Checkpoint extends StateDict, AsyncDisposable {
  readonly path: string;
  /** The container's display name, such as "PyTorch zip". */
  readonly format: string;
  /** The tensors of the state dict, wrappers (`state_dict`, `model`, EMA) and `module.` prefixes removed. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** @throws {RepVGGError} ERR_FILE_READ if its files have been modified since it was opened */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}
