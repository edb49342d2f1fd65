import {Duplex} from 'node:stream';
import type {ScoreInput, ScoreOutput, ScoreRow, ScoreSummary, Scores} from './score.ts';

/** Takes images or records and gives rows: {@link RepVGG.scoreStream}. */
export interface ScoreDuplex extends Duplex {
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

/** Takes images or records and gives rows, as the web's streams do: {@link RepVGG.scoreTransformStream}. */
export interface ScoreTransformStream<Output extends ScoreOutput = ScoreOutput> {
  readonly writable: WritableStream<ScoreInput>;
  readonly readable: ReadableStream<ScoreRow<Output>>;
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

type Score<Output extends ScoreOutput = ScoreOutput> = (source: AsyncIterable<ScoreInput>) => Scores<Output>;

/** The rows of what is written. Destroying it ends what is under way. */
export function scoreDuplex(score: Score): ScoreDuplex {
  let scores: Scores | undefined;
  const duplex = Duplex.from((source: AsyncIterable<ScoreInput>) => {
    scores = score(source);
    return scores;
  });
  return Object.assign(duplex, {summary: scores!.summary}); // Duplex.from() calls the function at once.
}

/** The rows of what is written. Cancelling `readable` ends what is under way. */
export function scoreTransform<Output extends ScoreOutput>(
  score: Score<Output>,
): ScoreTransformStream<Output> {
  const {readable, writable} = new TransformStream<ScoreInput, ScoreInput>();
  const scores = score(readable);
  return {writable, readable: ReadableStream.from(scores), summary: scores.summary};
}
