import {dirname, resolve} from 'node:path';
import {RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images/images.ts';
import {toText} from '../support/plain_text.ts';
import {isUrl} from '../support/urls.ts';
import type {SourceFile} from './options.ts';
import type {SourceRecord, UnreadableRecord} from './record.ts';

/** Usual names of the image column, in order of preference. */
export const imageColumns: readonly string[] = ['image', 'path', 'file', 'filename', 'url', 'uri'];

/** Column names listed in a message. */
const mostNames = 20;

function listed(columns: readonly string[]): string {
  if (columns.length === 0) return 'none';
  const more = columns.length - mostNames;
  return `${columns.slice(0, mostNames).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** The name of the table's image column. */
export function imageColumnOf(columns: readonly string[], file: SourceFile): string {
  const {path, imageColumn} = file;
  const found =
    imageColumn === undefined
      ? imageColumns.find(name => columns.includes(name))
      : columns.find(name => name === imageColumn);
  if (found !== undefined) return found;
  const expected =
    imageColumn === undefined ? `a column named ${imageColumns.join(', ')}` : `a column named ${imageColumn}`;
  const hint = imageColumn === undefined ? ' Otherwise set the image column.' : '';
  throw new RepVGGError(
    'ERR_SOURCE',
    `Cannot find the images of ${path}: expected ${expected} but its columns are ${listed(columns)}.${hint}`,
  );
}

/** Columns that options name must exist; the default ones need not. */
export function checkColumns(columns: readonly string[], {path, idColumn, ...file}: SourceFile): void {
  const {labelColumn, fields = []} = file;
  const asFields = fields.map(name => (name === 'label' ? (labelColumn ?? name) : name));
  const missing = [idColumn, labelColumn, ...asFields].find(
    name => name !== undefined && !columns.includes(name),
  );
  if (missing === undefined) return;
  const problem = `expected a column named ${missing} but its columns are ${listed(columns)}`;
  throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
}

/** Refuses column names, and fields other than `known`, for a source that is not a table. */
export function checkFields(file: SourceFile, kind: string, known: readonly string[]): void {
  const {path, fields = [], imageColumn, idColumn, labelColumn} = file;
  checkNoColumns(path, kind, [imageColumn, idColumn, labelColumn]);
  const missing = fields.find(name => !known.includes(name));
  if (missing === undefined) return;
  const problem = `expected a field named ${missing} but ${kind} has ${known.length > 0 ? `only ${known.join(', ')}` : 'none'}`;
  throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
}

export function checkNoColumns(path: string, kind: string, names: readonly (string | undefined)[]): void {
  const name = names.find(name => name !== undefined);
  if (name === undefined) return;
  const problem = `expected a column named ${name} but ${kind} has no columns`;
  throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: ${problem}.`);
}

/** The columns that records are made of, existing or not, and those requested as fields. */
export function namedColumns(
  imageColumn: string,
  {idColumn = 'id', labelColumn = 'label', fields = []}: SourceFile,
): string[] {
  return [imageColumn, idColumn, labelColumn, ...fields];
}

/**
 * Converts a row of a table to a record.
 *
 * @param place used in messages, and as the id of a row without one, such as "list.csv:17"
 */
export function rowToRecord(
  row: Readonly<Record<string, unknown>>,
  imageColumn: string,
  place: string,
  file: SourceFile,
): SourceRecord | UnreadableRecord {
  const {idColumn = 'id', labelColumn = 'label', fields: asked = []} = file;
  const {[imageColumn]: cell, [idColumn]: idCell, [labelColumn]: labelCell, ...others} = row;
  const id = textOf(idCell);
  const label = textOf(labelCell);
  const named = asked.filter(name => Object.hasOwn(row, name)).map(name => [name, row[name]]);
  const known = {...(label !== undefined && {label}), fields: {...others, ...Object.fromEntries(named)}};
  try {
    const {image, name, fields} = toImage(cell, imageColumn, place, file);
    return {id: id ?? name ?? place, image, ...known, fields: {...fields, ...known.fields}};
  } catch (error) {
    return {id: id ?? place, error: error as RepVGGError, ...known};
  }
}

/** An id or label as text; undefined if empty. */
function textOf(cell: unknown): string | undefined {
  return toText(cell) || undefined;
}

/**
 * The image in a cell, and its path or URL as a default id. The path beside bytes, as in Hugging Face datasets, becomes a field instead:
 * `datasets` keeps only its last part, so it need not be unique.
 */
function toImage(
  cell: unknown,
  column: string,
  place: string,
  file: SourceFile,
): {image: ImageInput; name?: string; fields?: {path: string}} {
  if (cell instanceof Uint8Array) return {image: cell};
  if (typeof cell === 'string' && cell !== '') {
    return namedImage(cell, file);
  }
  if (typeof cell === 'object' && cell !== null) {
    const {bytes, path} = cell as {bytes?: unknown; path?: unknown};
    const name = typeof path === 'string' && path !== '' ? path : undefined;
    if (bytes instanceof Uint8Array) return {image: bytes, ...(name !== undefined && {fields: {path: name}})};
    if (name !== undefined) return {image: locateImage(name, file), name};
  }
  const empty = cell === undefined || cell === null || cell === '' ? ' but it is empty' : '';
  throw new RepVGGError(
    'ERR_SOURCE',
    `Expected a path, a URL or bytes in column ${column} of ${place}${empty}.`,
  );
}

/** The image that a path or URL of a list or table names, and an id: none for a data: URL, which is the image itself and too long. */
export function namedImage(text: string, file: SourceFile): {image: string | URL; name?: string} {
  const image = locateImage(text, file);
  return image instanceof URL && image.protocol === 'data:' ? {image} : {image, name: text};
}

/** Resolves a path of a list or table; URLs are parsed, also those that are refused later, such as s3://bucket/1.jpg. */
function locateImage(text: string, {path, root}: SourceFile): string | URL {
  if (!isUrl(text)) return resolve(root ?? dirname(path), text);
  if (URL.canParse(text)) return new URL(text);
  throw new RepVGGError('ERR_SOURCE', `Expected a path or a URL but received ${JSON.stringify(text)}.`);
}
