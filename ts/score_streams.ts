import {Duplex} from 'node:stream';
import type {ScoreInput, ScoreRow, ScoreSummary, Scores} from './score.ts';

/** Takes images or records and gives rows: {@link RepVGG.scoreStream}. */
export interface ScoreDuplex extends Duplex {
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

/** Takes images or records and gives rows, as the web's streams do: {@link RepVGG.scoreTransformStream}. */
export interface ScoreTransformStream {
  readonly writable: WritableStream<ScoreInput>;
  readonly readable: ReadableStream<ScoreRow>;
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

type Score = (source: AsyncIterable<ScoreInput>) => Scores;

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
export function scoreTransform(score: Score): ScoreTransformStream {
  const {readable, writable} = new TransformStream<ScoreInput, ScoreInput>();
  const scores = score(readable);
  return {writable, readable: ReadableStream.from(scores), summary: scores.summary};
}
