import {Duplex} from 'node:stream';
import type {ScoreInput, ScoreSummary, Scores} from './score.ts';
import type {ScoreOutput, ScoreRow} from './score_row.ts';

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
        const {value, done} = await scores.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      // Not by scores.return() alone, which waits for a silent source, and does not reach one that was never asked.
      async cancel(reason) {
        await reader.cancel(reason);
        await scores.return(scores.summary);
      },
    },
    {highWaterMark: 0},
  );
  return {writable: input.writable, readable, summary: scores.summary};
}
