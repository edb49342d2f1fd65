import {checkSignal} from './arguments.ts';
import {untilStopped} from './cancellation.ts';
import type {RepVGG} from './model.ts';
import {settlesBy, unwatched} from './promises.ts';
import type {ScoreInput, ScoreOptions, ScoreSummary, Scores} from './score.ts';
import {type Column, columnsOf} from './sinks/columns.ts';
import {finish} from './sinks/finish.ts';
import {type SinkFormat, sinkFormat} from './sinks/formats.ts';
import {Journal} from './sinks/journal.ts';
import {digestOf, digestWith, skipWritten} from './sinks/written_ids.ts';
import {checkNotSource} from './sources/overwrite.ts';

/** Options of {@link scoreToFile}. */
export interface ScoreFileOptions extends Omit<ScoreOptions, 'skip' | 'uniqueIds'> {
  /**
   * Continues an earlier run, if there is one; does nothing if it had finished. The source has to give the same records in the
   * same order. Default false: an unfinished run is an error.
   */
  resume?: boolean | undefined;
  /** What else the rows depend on, such as the names of source and checkpoint: a run with other settings is not continued. */
  settings?: Readonly<Record<string, unknown>> | undefined;
  /** Ends the run after the batches in flight, so that it can be resumed. An abort of `signal` keeps only what was saved last. */
  stop?: AbortSignal | undefined;
  /** Called after each row. */
  onProgress?: ((summary: Readonly<ScoreSummary>) => void) | undefined;
}

/** The result of {@link scoreToFile}. */
export interface ScoreFileSummary extends ScoreSummary {
  /** Whether the file is complete; if not, the run was stopped and can be resumed. */
  complete: boolean;
  /** The file was complete before, and nothing was done. */
  alreadyComplete: boolean;
  /** Rows with an error in the file, those that runs before have written included; 0 if it was complete already. */
  failedInFile: number;
}

/** Rows are saved as often; a run that is killed loses no more. */
const saveMilliseconds = 1000;
/** Rows that are written at a time. */
const rowsAtOnce = 64;
/**
 * Scores a source into a file: NDJSON (.ndjson, .jsonl), CSV (.csv), Parquet (.parquet) or Arrow IPC (.arrow, .feather). The
 * file appears when it is complete; until then its rows are in FILE.partial, and FILE.partial.json says how far they reach,
 * so that a run that was stopped or killed can be resumed, with no row lost or doubled. A second record with the same id is
 * an error row.
 *
 * @throws {RepVGGError} as {@link RepVGG.score} does, and ERR_FILE_WRITE, ERR_RESUME, ERR_DEPENDENCY_MISSING
 */
export async function scoreToFile(
  model: RepVGG,
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  path: string,
  options: ScoreFileOptions = {},
): Promise<ScoreFileSummary> {
  const {resume = false, settings = {}, stop, onProgress, ...score} = options;
  const format = sinkFormat(path);
  checkSignal(stop, 'stop');
  await checkNotSource(path, source);
  await format.check?.(); // Before the work, not after it.
  const journal = await Journal.open(path, {...settings, ...settingsOf(model, score)}, resume);
  if (journal === 'complete') return {...nothing, complete: true, alreadyComplete: true, failedInFile: 0};
  await using _ = journal;
  const skip = skipWritten(journal.marker, path);
  const columns = columnsOf(score, model.architecture);
  let scores: Scores;
  try {
    const records = stop ? untilStopped(source, stop) : source;
    scores = model.score(records, {...score, uniqueIds: true, skip: skip.next});
    await writeRows(scores, journal, format, columns, {stop, onProgress, onEnd: skip.end});
  } finally {
    const {rows, complete} = journal.marker;
    if (rows === 0 && !complete) await journal.remove(); // Nothing to go on with.
  }
  const {complete, failed: failedInFile} = journal.marker;
  if (complete) await finish(journal, format, columns);
  return {...scores.summary, complete, alreadyComplete: false, failedInFile};
}

const nothing: ScoreSummary = {
  ok: 0,
  failed: 0,
  skipped: 0,
  prepareMilliseconds: 0,
  computeMilliseconds: 0,
  missingFields: [],
};

function settingsOf(model: RepVGG, score: ScoreOptions): Record<string, unknown> {
  const {output = 'labels', topK = 5, fields = [], timing = false} = score;
  const {architecture, form, precision, preprocessing} = model;
  const labels = digestOf(model.labels.map(({label}) => label).join('\n')).slice(0, 16);
  return {
    output,
    topK,
    fields,
    timing,
    architecture: architecture.name,
    form,
    precision,
    preprocessing,
    labels,
  };
}

/** Writes rows to the journal, and saves them now and then and at the end, also where it is an error that ends them. */
async function writeRows(
  scores: Scores,
  journal: Journal,
  format: SinkFormat,
  columns: readonly Column[],
  {stop, onProgress, onEnd}: Pick<ScoreFileOptions, 'stop' | 'onProgress'> & {onEnd: () => void},
): Promise<void> {
  let {rows, ok, failed, idDigest} = journal.marker;
  let lines = rows === 0 ? [format.header?.(columns) ?? ''] : [];
  let savedAt = performance.now();
  let isUnsaved = false;
  const write = async (): Promise<void> => {
    await journal.append(lines.join(''));
    lines = [];
  };
  const save = async (complete = false): Promise<void> => {
    await write();
    await journal.commit({rows, ok, failed, idDigest}, complete);
    savedAt = performance.now();
    isUnsaved = false;
  };
  try {
    for (;;) {
      const pending = unwatched(scores.next());
      // A source may be silent for long, and what was scored before should not be lost with it.
      const due = savedAt + saveMilliseconds;
      if (isUnsaved && (performance.now() >= due || !(await settlesBy(pending, due)))) await save();
      const result = await pending.catch(async error => {
        await save(); // What was scored before counts. Not earlier: two at a time would write the same lines twice.
        throw error;
      });
      if (result.done) break;
      const row = result.value;
      lines.push(format.toLine(row, columns));
      isUnsaved = true;
      rows++;
      if ('error' in row) failed++;
      else ok++;
      idDigest = digestWith(idDigest, row.id);
      if (lines.length >= rowsAtOnce) await write();
      onProgress?.(scores.summary);
    }
    const complete = !stop?.aborted;
    if (complete) onEnd(); // Checks what the run is not to be complete without.
    await save(complete);
  } finally {
    await scores.return(scores.summary);
  }
}
