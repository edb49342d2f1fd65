import {type Job, UnrecoverableError, Worker, type WorkerOptions} from 'bullmq';
import {invalidArgument, type RepVGGError} from './errors.ts';
import type {RepVGG} from './model.ts';
import type {ScoreOptions, ScoreSummary, Scores} from './scoring/score.ts';
import {toJsonLine} from './sinks/lines.ts';
import type {SourceOptions} from './sources/options.ts';
import {checkNotSource} from './sources/overwrite.ts';
import {openSource} from './sources/source.ts';
import {appendTexts, replaceFile} from './support/replace_file.ts';

/** A part of a source, scored by one worker. Paths are resolved on the worker's machine. */
export interface ShardJob {
  /** A source as for {@link openSource}: a folder, glob, list, table or tar. */
  source: string;
  /** The NDJSON file to write, one row per record. It appears when it is complete, and replaces an older file. */
  output: string;
  /** Options for {@link openSource}. */
  read?: Omit<SourceOptions, 'signal'>;
  /** Options for {@link RepVGG.score}. */
  score?: Pick<
    ScoreOptions,
    'output' | 'topK' | 'fields' | 'batchSize' | 'timing' | 'uniqueIds' | 'fetchTimeout'
  >;
}

/** The return value of a finished job. */
export type ShardResult = ScoreSummary;

export type ShardWorker = Worker<ShardJob, ShardResult>;

/** The least time between two progress updates of a job. */
const progressMilliseconds = 1000;

/**
 * Creates a BullMQ worker whose jobs are shards. If a worker is killed, its shard goes to another worker once the lock expires
 * (`lockDuration`) and is scored from the beginning. An output appears only when it is complete, so it has every row once, however often
 * its shard was started. Rows that failed are in the output and do not fail the job. A job's progress is the summary so far.
 *
 * `close()` waits for the current shard. The caller still owns the model. Anyone who can add jobs can read and write files with the
 * permissions of this process.
 *
 * @param options those of BullMQ's Worker; `connection` is required. `maxStalledCount` defaults to 100: a shard may be lost by that many
 *   workers before its job fails.
 *
 * @example
 * const model = await RepVGG.load('RepVGG-A0-train.pth'); // Not `await using`: the worker outlives the module's evaluation.
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
    if (typeof output !== 'string' || output === '')
      throw invalidArgument('output', 'the path of a file to write', output);
    const records = openSource(source, read);
    await checkNotSource(output, records);
    const scores = model.score(records, score);
    await replaceFile(output, file => appendTexts(file, linesOf(scores, job)));
    return {...scores.summary};
  } catch (error) {
    const {code, message} = error as RepVGGError;
    // Wrong options will not work next time either; other errors may pass.
    if (code === 'ERR_INVALID_ARGUMENT') throw new UnrecoverableError(message);
    throw error;
  }
}

/** The rows as NDJSON; meanwhile, the summary so far becomes the job's progress. */
async function* linesOf(scores: Scores, job: Job<ShardJob, ShardResult>): AsyncGenerator<string> {
  let reported = performance.now();
  for await (const row of scores) {
    yield toJsonLine(row);
    if (performance.now() - reported < progressMilliseconds) continue;
    reported = performance.now();
    await job.updateProgress({...scores.summary});
  }
}
