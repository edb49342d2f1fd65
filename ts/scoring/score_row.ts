import type {RepVGGErrorCode} from '../errors.ts';
import type {Prediction} from './predictions.ts';

/** What a row contains: the likeliest classes, the logits or the pooled features. */
export type ScoreOutput = 'labels' | 'logits' | 'embeddings';
export const scoreOutputs: readonly ScoreOutput[] = ['labels', 'logits', 'embeddings'];

/** The time that an image took. */
export interface ScoreTiming {
  /** Reading, decoding and resizing the image, including the wait for a free thread. */
  prepareMilliseconds: number;
  /** Running the network on the whole batch of the image. */
  computeMilliseconds: number;
}

/** Common to all rows. */
export interface RowHead {
  id: string;
  fields?: Record<string, unknown>;
  timing?: ScoreTiming;
}

/** The likeliest classes of an image, best first. `label` and `score` are those of the first. */
export interface LabelRow extends RowHead {
  label: string;
  score: number;
  topK: Prediction[];
}

/** The classifier's output for an image, before softmax. */
export interface LogitsRow extends RowHead {
  /** [numClasses]. */
  logits: Float32Array;
}

/** The pooled features of an image. */
export interface EmbeddingRow extends RowHead {
  /** [widths[4]]. */
  embedding: Float32Array;
}

/** An image that could not be scored. */
export interface FailedRow extends RowHead {
  error: {code: RepVGGErrorCode; message: string};
}

/** The row of one record; a failed one has `error`. */
export type ScoreRow<Output extends ScoreOutput = ScoreOutput> =
  | {labels: LabelRow; logits: LogitsRow; embeddings: EmbeddingRow}[Output]
  | FailedRow;

/** The part of a row that the network computes. */
export type RowResult = Omit<LabelRow | LogitsRow | EmbeddingRow, keyof RowHead>;
