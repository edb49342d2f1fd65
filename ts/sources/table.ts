import {dirname, resolve} from 'node:path';
import {RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images.ts';
import {toText} from '../plain_text.ts';
import type {SourceFile} from './options.ts';
import type {SourceRecord, UnreadableRecord} from './record.ts';

/** What the column with the image is usually called. */
export const imageColumns: readonly string[] = ['image', 'path', 'file', 'filename', 'url', 'uri'];

/** Names of columns, as many as a line of text is good for. */
const mostNames = 20;

function listed(columns: readonly string[]): string {
  if (columns.length === 0) return 'none';
  const more = columns.length - mostNames;
  return `${columns.slice(0, mostNames).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Which of a table's columns holds the image. */
export function imageColumnOf(columns: readonly string[], file: SourceFile): string {
  const {path, imageColumn} = file;
  const found =
    imageColumn === undefined
      ? imageColumns.find(name => columns.includes(name))
      : columns.find(name => name === imageColumn);
  if (found !== undefined) return found;
  const expected =
    imageColumn === undefined ? `a column named ${imageColumns.join(', ')}` : `a column named ${imageColumn}`;
  throw new RepVGGError(
    'ERR_SOURCE',
    `Cannot find the images of ${path}: expected ${expected} but its columns are ${listed(columns)}.`,
  );
}

/** Columns that were named have to be there; the usual ones need not. */
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

/** The columns that a record is made of, whether they are there or not, and those that were asked for. */
export function namedColumns(
  imageColumn: string,
  {idColumn = 'id', labelColumn = 'label', fields = []}: SourceFile,
): string[] {
  return [imageColumn, idColumn, labelColumn, ...fields];
}

/**
 * Makes a record of a row of a table.
 *
 * @param place what the row is called where it has no id, such as "list.csv:17"
 */
export function toRecord(
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

/** Of an id or a label; an empty one is none. */
function textOf(cell: unknown): string | undefined {
  return toText(cell) || undefined;
}

/**
 * An image of a table, and its name if it has one. Bytes may have a path beside them, as in Hugging Face's datasets, which is
 * the last part of the one that they came from, and so need not be the only one of its kind.
 */
function toImage(
  cell: unknown,
  column: string,
  place: string,
  file: SourceFile,
): {image: ImageInput; name?: string; fields?: {path: string}} {
  if (cell instanceof Uint8Array) return {image: cell};
  if (typeof cell === 'string' && cell !== '') {
    const image = locate(cell, file);
    // The text of a data: URL is the image itself, and no name for it.
    return image instanceof URL && image.protocol === 'data:' ? {image} : {image, name: cell};
  }
  if (typeof cell === 'object' && cell !== null) {
    const {bytes, path} = cell as {bytes?: unknown; path?: unknown};
    const name = typeof path === 'string' && path !== '' ? path : undefined;
    if (bytes instanceof Uint8Array) return {image: bytes, ...(name !== undefined && {fields: {path: name}})};
    if (name !== undefined) return {image: locate(name, file), name};
  }
  throw new RepVGGError('ERR_SOURCE', `Expected a path, a URL or bytes in column ${column} of ${place}.`);
}

/** A path of a list or table, seen from where it begins, or a URL. */
export function locate(text: string, {path, root}: SourceFile): string | URL {
  if (!/^(https?|data|file):/i.test(text)) return resolve(root ?? dirname(path), text);
  if (URL.canParse(text)) return new URL(text);
  throw new RepVGGError('ERR_SOURCE', `Expected a path or a URL but received ${JSON.stringify(text)}.`);
}
