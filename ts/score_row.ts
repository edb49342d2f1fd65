import type {RepVGGErrorCode} from './errors.ts';
import type {Prediction} from './predictions.ts';

/** What a row has of its image: the likeliest classes, the classifier's output or the pooled features. */
export type ScoreOutput = 'labels' | 'logits' | 'embeddings';
export const scoreOutputs: readonly ScoreOutput[] = ['labels', 'logits', 'embeddings'];

/** How long an image took. */
export interface ScoreTiming {
  /** Reading, decoding and resizing of the image, waiting for a free thread included. */
  prepareMilliseconds: number;
  /** Running the network on the image's whole batch. */
  computeMilliseconds: number;
}

/** What every row has. */
export interface RowHead {
  id: string;
  fields?: Record<string, unknown>;
  timing?: ScoreTiming;
}

/** The likeliest classes of an image, best first, and of these the first. */
export interface LabelRow extends RowHead {
  label: string;
  score: number;
  topK: Prediction[];
}

/** What the classifier says of an image, before softmax. */
export interface LogitsRow extends RowHead {
  /** [numClasses]. */
  logits: Float32Array;
}

/** The pooled features of an image. */
export interface EmbeddingRow extends RowHead {
  /** [widths[4]]. */
  embedding: Float32Array;
}

/** An image that could not be scored, and why. */
export interface FailedRow extends RowHead {
  error: {code: RepVGGErrorCode; message: string};
}

/** The row of one record: failed ones have "error". */
export type ScoreRow<Output extends ScoreOutput = ScoreOutput> =
  | {labels: LabelRow; logits: LogitsRow; embeddings: EmbeddingRow}[Output]
  | FailedRow;

/** What becomes of an image's result, without the row around it. */
export type RowResult = Omit<LabelRow | LogitsRow | EmbeddingRow, keyof RowHead>;
