import {invalidArgument, RepVGGError} from '../errors.ts';
import {checkRunOptions, type RunOptions, runOptionNames} from '../images/fetch_image.ts';
import type {ImageInput} from '../images/images.ts';
import type {SourceRecord, UnreadableRecord} from '../sources/record.ts';
import {
  checkOptions,
  type FieldNames,
  isIterable,
  mostMilliseconds,
  positiveInteger,
} from '../support/arguments.ts';
import {fieldOf, toText} from '../support/plain_text.ts';
import {type ComputedBatch, mostImages} from './batches.ts';
import {IdSet} from './id_set.ts';
import {type RowResult, type ScoreOutput, type ScoreRow, scoreOutputs} from './score_row.ts';

/** An image, or a record with an id and an image or error. */
export type ScoreInput = ImageInput | SourceRecord | UnreadableRecord;

/** Options of {@link RepVGG.score} and the streams. */
export interface ScoreOptions<Output extends ScoreOutput = ScoreOutput> extends RunOptions {
  /** What rows contain: the likeliest classes, the logits or the pooled features. Default 'labels'. */
  output?: Output | undefined;
  /** Classes per row, likeliest first, with the output "labels" only. Default 5; all if the network has fewer. */
  topK?: number | undefined;
  /** Fields to copy from the record to its row; "label" is the record's known class. Default none. */
  fields?: readonly string[] | undefined;
  /** Images in a batch. Default: the model's batch size. */
  batchSize?: number | undefined;
  /** Images that are read and decoded concurrently. Default: twice the number of cores. */
  concurrency?: number | undefined;
  /** Milliseconds that a record of a slow source waits for its batch to fill up. Default 1000. */
  maxWait?: number | undefined;
  /** Adds the time that the image took to each row. Default false. */
  timing?: boolean | undefined;
  /** Turns further records with the same id into errors (ERR_DUPLICATE_ID). Uses about 20 bytes of memory per id. Default false. */
  uniqueIds?: boolean | undefined;
  /** Called with each id in order: a record for which it returns true gets no row and counts as skipped. */
  skip?: ((id: string) => boolean) | undefined;
}

export const scoreOptionNames: FieldNames<ScoreOptions> = {
  ...runOptionNames,
  output: true,
  topK: true,
  fields: true,
  batchSize: true,
  concurrency: true,
  maxWait: true,
  timing: true,
  uniqueIds: true,
  skip: true,
};

/** Counts of the records so far. */
export interface ScoreSummary {
  /** Rows with a result. */
  ok: number;
  /** Rows with an error. */
  failed: number;
  /** Records that `skip` left out. */
  skipped: number;
  /** Time spent reading, decoding and resizing, summed over images, several of which are prepared concurrently. */
  prepareMilliseconds: number;
  /** Time during which at least one batch was on the device. */
  computeMilliseconds: number;
  /** Requested `fields` that no record has had so far, perhaps because of a typo. */
  missingFields: readonly string[];
}

/** Rows in the order of the source, as they become ready, and a summary that is up to date after each row. */
export interface Scores<Output extends ScoreOutput = ScoreOutput>
  extends AsyncGenerator<ScoreRow<Output>, ScoreSummary, void> {
  readonly summary: Readonly<ScoreSummary>;
}

interface Item {
  id: string;
  /** Used in messages for an image without a path. */
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

export function checkScore(source: unknown, options: ScoreOptions): void {
  if (!isIterable(source)) throw invalidArgument('source', 'an iterable of images or records', source);
  checkScoreOptions(options);
}

export function checkScoreOptions(options: ScoreOptions): void {
  checkOptions(options, scoreOptionNames);
  checkRunOptions(options);
  const {output = 'labels', topK, batchSize, concurrency, maxWait, fields = []} = options;
  if (!scoreOutputs.includes(output)) {
    throw invalidArgument('output', scoreOutputs.map(name => `"${name}"`).join(', '), output);
  }
  if (topK !== undefined) positiveInteger(topK, 'topK');
  if (output !== 'labels' && topK !== undefined)
    throw invalidArgument('topK', `no value with the output "${output}"`, topK);
  if (batchSize !== undefined) positiveInteger(batchSize, 'batchSize', mostImages);
  if (concurrency !== undefined) positiveInteger(concurrency, 'concurrency', mostImages);
  if (maxWait !== undefined) positiveInteger(maxWait, 'maxWait', mostMilliseconds);
  for (const name of ['timing', 'uniqueIds'] as const) {
    const value = options[name];
    if (value !== undefined && typeof value !== 'boolean')
      throw invalidArgument(name, 'true or false', value);
  }
  if (!Array.isArray(fields) || !fields.every(field => typeof field === 'string')) {
    throw invalidArgument('fields', 'an array of names', fields);
  }
  if (options.skip !== undefined && typeof options.skip !== 'function') {
    throw invalidArgument('skip', 'a function', options.skip);
  }
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
    const {id, name, image, label, fields: all} = fullRecord(input, position++);
    const own =
      fields && Object.fromEntries(fields.map(name => [name, name === 'label' ? label : fieldOf(all, name)]));
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

/** The id of an image without a record is its path or URL, or else its position. */
function fullRecord(input: ScoreInput, position: number): FullRecord {
  const name = `input ${position}`;
  if (typeof input === 'string') return {id: input, name, image: input};
  if (input instanceof URL) return {id: input.href, name, image: input};
  // Anything else is refused when the image is read, as an error row.
  if (typeof input !== 'object' || input === null) return {id: String(position), name, image: input};
  const id = toText((input as {id?: unknown}).id);
  const own = id === null ? {id: String(position), name} : {id, name: id};
  if ('image' in input) return {...input, ...own};
  if ('error' in input) return {...input, ...own, image: toCoded(input.error)};
  return {...own, image: input};
}

/** The error of a record without an image; errors of other kinds are wrapped. */
function toCoded(error: unknown): RepVGGError {
  if (error instanceof RepVGGError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new RepVGGError('ERR_SOURCE', message, {cause: error});
}
