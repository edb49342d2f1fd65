import {Duplex} from 'node:stream';
import {unwatched} from '../support/promises.ts';
import type {ScoreInput, ScoreSummary, Scores} from './score.ts';
import type {ScoreOutput, ScoreRow} from './score_row.ts';

/** A Node stream from images or records to rows: {@link RepVGG.scoreStream}. */
export interface ScoreDuplex extends Duplex {
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

/** A pair of web streams from images or records to rows: {@link RepVGG.scoreTransformStream}. */
export interface ScoreTransformStream<Output extends ScoreOutput = ScoreOutput> {
  readonly writable: WritableStream<ScoreInput>;
  readonly readable: ReadableStream<ScoreRow<Output>>;
  /** Up to date after each row. */
  readonly summary: Readonly<ScoreSummary>;
}

type Score<Output extends ScoreOutput = ScoreOutput> = (source: AsyncIterable<ScoreInput>) => Scores<Output>;

/** Destroying the stream cancels the work in progress. */
export function scoreDuplex(score: Score): ScoreDuplex {
  let scores: Scores | undefined;
  const duplex = Duplex.from((source: AsyncIterable<ScoreInput>) => {
    scores = score(source);
    return scores;
  });
  return Object.assign(duplex, {summary: scores!.summary}); // Duplex.from() calls the function at once.
}

/** Cancelling `readable` cancels the work in progress. */
export function scoreTransform<Output extends ScoreOutput>(
  score: Score<Output>,
): ScoreTransformStream<Output> {
  const input = new TransformStream<ScoreInput, ScoreInput>();
  const reader = input.readable.getReader();
  async function* inputs(): AsyncGenerator<ScoreInput> {
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
    } finally {
      await reader.cancel();
    }
  }
  const scores = score(inputs());
  const readable = new ReadableStream<ScoreRow<Output>>(
    {
      async pull(controller) {
        try {
          const {value, done} = await scores.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          // Who writes should know at once: inputs() would find out only by the next input.
          unwatched(reader.cancel(error));
          throw error;
        }
      },
      // scores.return() alone would wait for a silent source, and would not close one that was never read.
      async cancel(reason) {
        await reader.cancel(reason);
        await scores.return(scores.summary);
      },
    },
    {highWaterMark: 0},
  );
  return {writable: input.writable, readable, summary: scores.summary};
}
