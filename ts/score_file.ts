import {createHash} from 'node:crypto';
import {unwatched} from './ahead.ts';
import {checkSignal} from './arguments.ts';
import {untilStopped} from './cancellation.ts';
import {RepVGGError} from './errors.ts';
import type {RepVGG} from './model.ts';
import {replaceFile} from './replace_file.ts';
import type {ScoreInput, ScoreOptions, ScoreRow, ScoreSummary, Scores} from './score.ts';
import {loadArrow, writeArrow} from './sinks/arrow.ts';
import {type Column, columnsOf} from './sinks/columns.ts';
import {type SinkFormat, sinkFormat} from './sinks/formats.ts';
import {Journal, type Marker} from './sinks/journal.ts';
import {csvHeader, fromJournalLine, toCsvLine, toJournalLine, toJsonLine} from './sinks/lines.ts';
import {writeParquet} from './sinks/parquet.ts';
import {checkNotSource} from './sources/overwrite.ts';

/** Of {@link scoreToFile}. */
export interface ScoreFileOptions extends Omit<ScoreOptions, 'skip' | 'uniqueIds'> {
  /**
   * Goes on with the rows that a run before has left, if there are any; nothing is done if it had finished. The source has to
   * give the same records in the same order. Default false: such rows are an error.
   */
  resume?: boolean | undefined;
  /** What else the rows are made with, such as the names of source and checkpoint: to rows made otherwise none are added. */
  settings?: Readonly<Record<string, unknown>> | undefined;
  /** Ends the run after the batches under way, and leaves what can be resumed. After an abort of `signal`, that is what was saved last. */
  stop?: AbortSignal | undefined;
  /** Called after each row. */
  onProgress?: ((summary: Readonly<ScoreSummary>) => void) | undefined;
}

/** What a run into a file has done. */
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
/** Rows of Parquet and Arrow that are made ready together, and numbers in them: for that long, nothing else runs in this thread. */
const mostRowsInGroup = 10_000;
const mostNumbersInGroup = 2 ** 18;

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
  if (format === 'arrow') await loadArrow(); // Before the work, not after it.
  const journal = await Journal.open(path, {...settings, ...settingsOf(model, score), format}, resume);
  if (journal === 'complete') return {...nothing, complete: true, alreadyComplete: true, failedInFile: 0};
  await using _ = journal;
  const skip = skipWritten(journal.marker, path);
  const columns = columnsOf(score);
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
  if (complete) await finish(journal, format, columns, lengthOf(model, score));
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

function lengthOf({architecture}: RepVGG, {output}: ScoreOptions): number {
  return output === 'embeddings' ? architecture.widths[4] : architecture.numClasses;
}

/** Says of each id in turn whether its row is there already, and checks that they are the ids that these rows have. */
function skipWritten(
  {rows, idDigest}: Marker,
  path: string,
): {next: (id: string) => boolean; end: () => void} {
  let [position, digest] = [0, ''];
  const changed = (problem: string): RepVGGError =>
    new RepVGGError('ERR_RESUME', `Cannot resume ${path}: the source has changed, ${problem}.`);
  return {
    next: id => {
      if (position === rows) return false;
      digest = digestWith(digest, id);
      if (++position === rows && digest !== idDigest) throw changed(`its first ${rows} ids are others`);
      return true;
    },
    end: () => {
      if (position < rows) throw changed(`it has ${position} records and ${rows} rows were written`);
    },
  };
}

const digestWith = (digest: string, id: string): string => digestOf(`${digest}\n${id}`);

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
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
  let lines = format === 'csv' && rows === 0 ? [csvHeader(columns)] : [];
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
      lines.push(toLine(row, format, columns));
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

/** Whether a promise is settled when performance.now() is `time`. */
async function settlesBy(promise: Promise<unknown>, time: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>(resolve => {
    timer = setTimeout(resolve, Math.max(0, time - performance.now()), false);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}

function toLine(row: ScoreRow, format: SinkFormat, columns: readonly Column[]): string {
  if (format === 'ndjson') return toJsonLine(row);
  return format === 'csv' ? toCsvLine(row, columns) : toJournalLine(row);
}

/** Makes the output of the journal: NDJSON and CSV are what it has, the others are made of it. */
async function finish(
  journal: Journal,
  format: SinkFormat,
  columns: readonly Column[],
  vectorLength: number,
): Promise<void> {
  if (format === 'ndjson' || format === 'csv') {
    await journal.become();
  } else {
    const groups = groupRows(journal, columns.some(({kind}) => kind === 'vector') ? vectorLength : 1);
    await replaceFile(journal.path, file =>
      format === 'parquet'
        ? writeParquet(file, columns, groups, vectorLength)
        : writeArrow(file, columns, groups, vectorLength),
    );
    await journal.remove();
  }
}

async function* groupRows(journal: Journal, numbersInRow: number): AsyncGenerator<ScoreRow[]> {
  const most = Math.max(1, Math.min(mostRowsInGroup, Math.floor(mostNumbersInGroup / numbersInRow)));
  let group: ScoreRow[] = [];
  for await (const line of journal.lines()) {
    group.push(fromJournalLine(line));
    if (group.length < most) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
