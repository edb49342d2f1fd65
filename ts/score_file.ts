import {invalidArgument, RepVGGError} from './errors.ts';
import type {RepVGG} from './model.ts';
import {
  checkScore,
  type ScoreInput,
  type ScoreOptions,
  type ScoreSummary,
  type Scores,
  scoreOptionNames,
} from './scoring/score.ts';
import type {ScoreRow} from './scoring/score_row.ts';
import {type Column, columnsOf} from './sinks/columns.ts';
import {finish} from './sinks/finish.ts';
import {type SinkFormat, sinkFormat} from './sinks/formats.ts';
import {Journal, partialPath} from './sinks/journal.ts';
import {markerPath} from './sinks/marker.ts';
import {digestOf, digestWith, skipWritten} from './sinks/written_ids.ts';
import {checkNotSource} from './sources/overwrite.ts';
import {checkOptions, checkSignal, type FieldNames} from './support/arguments.ts';
import {followSignal, untilStopped} from './support/cancellation.ts';
import {toJson} from './support/plain_text.ts';
import {settlesBy, unwatched} from './support/promises.ts';

/** Options of {@link scoreToFile}. */
export interface ScoreFileOptions extends Omit<ScoreOptions, 'skip' | 'uniqueIds'> {
  /**
   * Continues an earlier run, if there is one; does nothing if it had finished. The source must yield the same records in the same
   * order. Default false: an unfinished run is an error.
   */
  resume?: boolean | undefined;
  /** What else the rows depend on, such as the source: a run with different settings, as JSON has them, cannot be resumed. */
  settings?: Readonly<Record<string, unknown>> | undefined;
  /** Ends the run after the batches in flight, so that it can be resumed. Aborting `signal` instead keeps only what was last saved. */
  stop?: AbortSignal | undefined;
  /** Called after each row. */
  onProgress?: ((summary: Readonly<ScoreSummary>) => void) | undefined;
}

const {skip: _, uniqueIds: __, ...sharedNames} = scoreOptionNames;
const optionNames: FieldNames<ScoreFileOptions> = {
  ...sharedNames,
  resume: true,
  settings: true,
  stop: true,
  onProgress: true,
};

/** The result of {@link scoreToFile}. */
export interface ScoreFileSummary extends ScoreSummary {
  /** Whether the file is complete; otherwise the run was stopped and can be resumed. */
  complete: boolean;
  /** Whether the file was complete before, so that nothing was done. */
  alreadyComplete: boolean;
  /** Error rows in the file, including those of earlier runs; 0 if `alreadyComplete`. */
  failedInFile: number;
}

/** The interval between saves: a killed run loses no more than this. */
const saveMilliseconds = 1000;
/** Characters buffered before a write. Not rows, whose fields can be of any length. */
const charactersAtOnce = 2 ** 16;

/**
 * Scores a source into a file: NDJSON (.ndjson, .jsonl), CSV (.csv), Parquet (.parquet) or Arrow IPC (.arrow, .feather). The file appears
 * when it is complete. Until then its rows are in FILE.partial, and FILE.partial.json records the progress, so that a run that was stopped
 * or killed can be resumed without losing or duplicating a row. Further records with the same id become error rows.
 *
 * @throws {RepVGGError} the errors of {@link RepVGG.score}, and ERR_FILE_WRITE, ERR_RESUME, ERR_DEPENDENCY_MISSING
 */
export async function scoreToFile(
  model: RepVGG,
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  path: string,
  options: ScoreFileOptions = {},
): Promise<ScoreFileSummary> {
  checkOptions(options, optionNames);
  const {resume = false, settings = {}, stop, onProgress, ...score} = options;
  const format = sinkFormat(path);
  checkScore(source, score); // Here, since the columns are made of these options.
  checkSignal(stop, 'stop');
  if (typeof resume !== 'boolean') throw invalidArgument('resume', 'true or false', resume);
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalidArgument('onProgress', 'a function', onProgress);
  const recorded = {given: asRecorded(settings), own: settingsOf(model, score)};
  for (const written of [path, partialPath(path), markerPath(path)]) await checkNotSource(written, source);
  await format.check?.(); // Fail before the work, not after it.
  const journal = await Journal.open(path, recorded, resume);
  if (journal === 'complete') return {...nothing, complete: true, alreadyComplete: true, failedInFile: 0};
  await using _ = journal;
  const skip = skipWritten(journal.marker, path);
  const columns = columnsOf(score, model.architecture);
  const {controller, forget} = followSignal(score.signal);
  let scores: Scores;
  try {
    const records = stop ? untilStopped(source, stop) : source;
    const {signal} = controller;
    scores = model.score(records, {...score, signal, uniqueIds: true, skip: skip.next});
    const leave = (): void => controller.abort();
    await writeRows(scores, journal, format, columns, {stop, onProgress, onEnd: skip.end, leave});
  } finally {
    forget();
    const {rows, complete} = journal.marker;
    if (rows === 0 && !complete) await journal.abandon();
  }
  const {complete, failed: failedInFile} = journal.marker;
  if (complete) await finish(journal, format, columns, score.signal);
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

/** Settings as a run that resumes this one will read them: a Date or a URL is a text then. */
function asRecorded(settings: ScoreFileOptions['settings']): unknown {
  const expected = 'an object that can be written as JSON';
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
    throw invalidArgument('settings', expected, settings);
  try {
    return JSON.parse(toJson(settings));
  } catch {
    throw invalidArgument('settings', expected, settings);
  }
}

function settingsOf(model: RepVGG, score: ScoreOptions): Record<string, unknown> {
  const {output = 'labels', topK = 5, fields = [], timing = false} = score;
  const {architecture, form, precision, winograd, preprocessing, digest} = model;
  const labels = digestOf(model.labels.map(({label}) => label).join('\n')).slice(0, 16);
  return {
    output,
    topK,
    fields,
    timing,
    architecture: architecture.name,
    weights: digest,
    form,
    precision,
    winograd,
    preprocessing,
    labels,
  };
}

interface WriteOptions extends Pick<ScoreFileOptions, 'stop' | 'onProgress'> {
  /** Called once all rows are there. */
  onEnd: () => void;
  /** Ends the scoring, also while its source is silent. */
  leave: () => void;
}

/** Writes rows to the journal and commits them periodically and at the end, even if that is an error. */
async function writeRows(
  scores: Scores,
  journal: Journal,
  format: SinkFormat,
  columns: readonly Column[],
  {stop, onProgress, onEnd, leave}: WriteOptions,
): Promise<void> {
  let {rows, ok, failed, idDigest} = journal.marker;
  let text = journal.marker.bytes === 0 ? (format.header?.(columns) ?? '') : '';
  let savedAt = performance.now();
  let isUnsaved = false;
  const write = async (): Promise<void> => {
    await journal.append(text);
    text = '';
  };
  const save = async (complete = false): Promise<void> => {
    await write();
    await journal.commit({rows, ok, failed, idDigest}, complete);
    savedAt = performance.now();
    isUnsaved = false;
  };
  const lineOf = async (row: ScoreRow): Promise<string> => {
    try {
      return format.toLine(row, columns);
    } catch (cause) {
      await save(); // As after an error of the source.
      const reason = (cause as Error).message.split('\n')[0];
      throw new RepVGGError('ERR_SOURCE', `Cannot write the row of ${JSON.stringify(row.id)}: ${reason}.`, {
        cause,
      });
    }
  };
  try {
    for (;;) {
      const pending = unwatched(scores.next());
      // Rows must be saved even while the source is silent.
      const due = savedAt + saveMilliseconds;
      if (isUnsaved && (performance.now() >= due || !(await settlesBy(pending, due)))) await save();
      const result = await pending.catch(async error => {
        await save(); // Only here: a save concurrent with the one above would write lines twice.
        throw error;
      });
      if (result.done) break;
      const row = result.value;
      const line = await lineOf(row);
      text += line;
      isUnsaved = true;
      rows++;
      if ('error' in row) failed++;
      else ok++;
      idDigest = digestWith(idDigest, row.id);
      if (text.length >= charactersAtOnce) await write();
      onProgress?.(scores.summary);
    }
    const complete = !stop?.aborted;
    if (complete) onEnd(); // Throws if the source has shrunk.
    await save(complete);
  } finally {
    leave(); // return() alone would wait for the row that was asked for.
    await scores.return(scores.summary);
  }
}
