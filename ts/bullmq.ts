import {type Job, UnrecoverableError, Worker, type WorkerOptions} from 'bullmq';
import type {RepVGGError} from './errors.ts';
import type {RepVGG} from './model.ts';
import {append, replaceFile} from './replace_file.ts';
import type {ScoreOptions, ScoreSummary} from './score.ts';
import {toJsonLine} from './sinks/lines.ts';
import type {SourceOptions} from './sources/options.ts';
import {checkNotSource} from './sources/overwrite.ts';
import {openSource} from './sources/source.ts';

/** A part of a source that one worker scores at a time. Paths are those of the worker's machine. */
export interface ShardJob {
  /** What {@link openSource} takes: a folder, glob, list, table or tar. */
  source: string;
  /** The NDJSON file with a row for each record. It appears when it is complete, and takes the place of an older one. */
  output: string;
  /** How the source is read. */
  read?: Omit<SourceOptions, 'signal'>;
  /** What is computed. */
  score?: Pick<
    ScoreOptions,
    'output' | 'topK' | 'fields' | 'batchSize' | 'timing' | 'uniqueIds' | 'fetchTimeout'
  >;
}

/** What a finished job returns. */
export type ShardResult = ScoreSummary;

export type ShardWorker = Worker<ShardJob, ShardResult>;

/** At least this long between two reports of a job's progress. */
const progressMilliseconds = 1000;
/** Bytes that are written at a time. */
const chunkBytes = 2 ** 16;

/**
 * A BullMQ worker whose jobs are shards. A shard of a worker that was killed goes to another one once its lock has expired
 * (`lockDuration`), and is done from its beginning; since an output appears only as a whole, each has every row once, however
 * often its shard was begun. Rows that failed are in the output and do not fail the job, whose progress is the summary so far.
 *
 * `close()` waits for the shard in hand. The model stays the caller's. Whoever may add jobs may read and write files as this
 * process may.
 *
 * @param options those of BullMQ's Worker; `connection` at least. A shard may be lost by up to 100 workers unless
 *   `maxStalledCount` says otherwise.
 *
 * @example
 * const model = await RepVGG.load('RepVGG-A0-train.pth'); // Not `await using`: a module ends long before its worker does.
 * const worker = createShardWorker('shards', model, {connection: {host: 'redis'}});
 */
export function createShardWorker(queue: string, model: RepVGG, options: WorkerOptions): ShardWorker {
  return new Worker<ShardJob, ShardResult>(queue, job => scoreShard(job, model), {
    maxStalledCount: 100,
    ...options,
  });
}

async function scoreShard(job: Job<ShardJob, ShardResult>, model: RepVGG): Promise<ShardResult> {
  const {source, output, read, score} = job.data;
  try {
    const records = openSource(source, read);
    await checkNotSource(output, records);
    const scores = model.score(records, score);
    let reported = performance.now();
    await replaceFile(output, async file => {
      let text = '';
      const flush = async (): Promise<void> => {
        await append(file, Buffer.from(text));
        text = '';
      };
      for await (const row of scores) {
        text += toJsonLine(row);
        if (text.length > chunkBytes) await flush();
        if (performance.now() - reported > progressMilliseconds) {
          reported = performance.now();
          await job.updateProgress({...scores.summary});
        }
      }
      await flush();
    });
    return {...scores.summary};
  } catch (error) {
    const {code, message} = error as RepVGGError;
    // Wrong now is wrong next time; whatever else may be better then.
    if (code === 'ERR_INVALID_ARGUMENT') throw new UnrecoverableError(message);
    throw error;
  }
}
