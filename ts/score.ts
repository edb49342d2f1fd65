import {checkOptions, checkSignal, isIterable, positiveInteger} from './arguments.ts';
import {type ComputedBatch, mostImages} from './batches.ts';
import {invalidArgument, RepVGGError} from './errors.ts';
import type {RunOptions} from './fetch_image.ts';
import {IdSet} from './id_set.ts';
import type {ImageInput} from './images.ts';
import {toText} from './plain_text.ts';
import {type RowResult, type ScoreOutput, type ScoreRow, scoreOutputs} from './score_row.ts';
import type {SourceRecord, UnreadableRecord} from './sources/record.ts';

/** An image, or a record with an id and more. */
export type ScoreInput = ImageInput | SourceRecord | UnreadableRecord;

/** Options of {@link RepVGG.score} and the streams. */
export interface ScoreOptions<Output extends ScoreOutput = ScoreOutput> extends RunOptions {
  /** The content of rows: the likeliest classes, the classifier's output or the pooled features. Default 'labels'. */
  output?: Output | undefined;
  /** The number of classes in a row, likeliest first. Default 5, or all if there are fewer. */
  topK?: number | undefined;
  /** Fields of the record to copy into its row; "label" is the class that the record itself names. Default none. */
  fields?: readonly string[] | undefined;
  /** Images in a batch. Default: the model's batch size. */
  batchSize?: number | undefined;
  /** Images that are read and decoded at the same time. Default: twice the cores. */
  concurrency?: number | undefined;
  /** Milliseconds that a record of a slow source waits for others to fill its batch. Default 1000. */
  maxWait?: number | undefined;
  /** Adds to each row how long its image took. Default false. */
  timing?: boolean | undefined;
  /** Makes a second row with the same id an error (ERR_DUPLICATE_ID). Needs about 20 bytes of memory an id. Default false. */
  uniqueIds?: boolean | undefined;
  /** Called with each id in turn: a record for which it returns true has no row and counts as skipped. */
  skip?: ((id: string) => boolean) | undefined;
}

/** Counts of the records so far. */
export interface ScoreSummary {
  /** Rows with a result. */
  ok: number;
  /** Rows with an error. */
  failed: number;
  /** Records without a row, since `skip` said so. */
  skipped: number;
  /** Sum over all images of the time that reading, decoding and resizing took; several are under way at a time. */
  prepareMilliseconds: number;
  /** Time in which at least one batch was on the device. */
  computeMilliseconds: number;
  /** Requested `fields` that no record has had, perhaps because of a typo. */
  missingFields: readonly string[];
}

/** Rows as they are ready, in the order of the source, and a summary that is current after each row. */
export interface Scores<Output extends ScoreOutput = ScoreOutput>
  extends AsyncGenerator<ScoreRow<Output>, ScoreSummary, void> {
  readonly summary: Readonly<ScoreSummary>;
}

interface Item {
  id: string;
  /** What messages call it where it has no path. */
  name: string;
  image: ImageInput | RepVGGError;
  fields: Record<string, unknown> | undefined;
}

/** Runs items through the network, batch by batch. */
export type RunItems = (
  items: AsyncIterable<Item>,
  imageOf: (item: Item) => ImageInput | RepVGGError,
  nameOf: (item: Item) => string,
) => AsyncGenerator<ComputedBatch<Item, RowResult>>;

/** That a timer can wait. */
const mostMilliseconds = 2 ** 31 - 1;

export function checkScore(source: unknown, options: ScoreOptions): void {
  if (!isIterable(source)) throw invalidArgument('source', 'an iterable of images or records', source);
  checkScoreOptions(options);
}

export function checkScoreOptions(options: ScoreOptions): void {
  checkOptions(options);
  const {
    output = 'labels',
    topK = 5,
    batchSize = 1,
    concurrency = 1,
    maxWait = 1,
    fields = [],
    fetchTimeout = 1,
  } = options;
  if (!scoreOutputs.includes(output)) {
    throw invalidArgument('output', scoreOutputs.map(name => `"${name}"`).join(', '), output);
  }
  positiveInteger(topK, 'topK');
  positiveInteger(batchSize, 'batchSize', mostImages);
  positiveInteger(concurrency, 'concurrency', mostImages);
  positiveInteger(maxWait, 'maxWait', mostMilliseconds);
  positiveInteger(fetchTimeout, 'fetchTimeout', mostMilliseconds);
  if (!Array.isArray(fields) || !fields.every(field => typeof field === 'string')) {
    throw invalidArgument('fields', 'an array of names', fields);
  }
  if (options.skip !== undefined && typeof options.skip !== 'function') {
    throw invalidArgument('skip', 'a function', options.skip);
  }
  checkSignal(options.signal);
}

/** Scores every record of a source. */
export function scoreRecords(
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  options: ScoreOptions,
  run: RunItems,
): Scores {
  const summary: ScoreSummary = {
    ok: 0,
    failed: 0,
    skipped: 0,
    prepareMilliseconds: 0,
    computeMilliseconds: 0,
    missingFields: options.fields ?? [],
  };
  return Object.assign(rows(source, options, run, summary), {summary});
}

async function* rows(
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  options: ScoreOptions,
  run: RunItems,
  summary: ScoreSummary,
): AsyncGenerator<ScoreRow, ScoreSummary, void> {
  const {signal, timing = false} = options;
  const items = toItems(source, options, summary);
  const batches = run(
    items,
    ({image}) => image,
    ({name}) => name,
  );
  for await (const computed of batches) {
    const {items, slots, milliseconds, resultOf, computeMilliseconds, busyMilliseconds} = computed;
    summary.computeMilliseconds += busyMilliseconds;
    for (const [i, {id, fields}] of items.entries()) {
      signal?.throwIfAborted();
      const [slot, prepareMilliseconds] = [slots[i]!, milliseconds[i]!];
      const isFailed = slot instanceof RepVGGError;
      if (isFailed) summary.failed++;
      else summary.ok++;
      summary.prepareMilliseconds += prepareMilliseconds;
      yield {
        id,
        ...(fields && {fields}),
        ...(isFailed ? {error: {code: slot.code, message: slot.message}} : resultOf!(slot)),
        ...(timing && {timing: {prepareMilliseconds, computeMilliseconds}}),
      } as ScoreRow;
    }
  }
  return summary;
}

async function* toItems(
  source: Iterable<ScoreInput> | AsyncIterable<ScoreInput>,
  {fields, skip, uniqueIds = false}: ScoreOptions,
  summary: ScoreSummary,
): AsyncGenerator<Item> {
  const ids = uniqueIds ? new IdSet() : undefined;
  let position = 0;
  for await (const input of source) {
    const {id, name, image, label, fields: all} = toRecord(input, position++);
    const own =
      fields && Object.fromEntries(fields.map(name => [name, name === 'label' ? label : all?.[name]]));
    if (own) summary.missingFields = summary.missingFields.filter(field => own[field] === undefined);
    const isNew = ids?.add(id) ?? true;
    if (skip?.(id)) {
      summary.skipped++;
      continue;
    }
    const message = `Expected each id once but received ${JSON.stringify(id)} again.`;
    yield {
      id,
      name,
      image: isNew ? image : new RepVGGError('ERR_DUPLICATE_ID', message),
      fields: own,
    };
  }
}

interface FullRecord extends Omit<Item, 'fields'>, Pick<SourceRecord, 'label' | 'fields'> {}

/** A record has an image or an error; an image alone is called by its path or URL, or by its position. */
function toRecord(input: ScoreInput, position: number): FullRecord {
  const name = `input ${position}`;
  if (typeof input === 'string') return {id: input, name, image: input};
  if (input instanceof URL) return {id: input.href, name, image: input};
  // Whatever is none of these, whoever reads images refuses as the error of its row.
  if (typeof input !== 'object' || input === null) return {id: String(position), name, image: input};
  const id = toText((input as {id?: unknown}).id);
  const own = id === null ? {id: String(position), name} : {id, name: id};
  if ('image' in input) return {...input, ...own};
  if ('error' in input) return {...input, ...own, image: toCoded(input.error)};
  return {...own, image: input};
}

/** Why a record has no image, in the words of whoever made the record. */
function toCoded(error: unknown): RepVGGError {
  if (error instanceof RepVGGError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new RepVGGError('ERR_SOURCE', message, {cause: error});
}
