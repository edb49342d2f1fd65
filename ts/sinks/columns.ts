import type {Architecture} from '../architecture.ts';
import type {ScoreOptions} from '../scoring/score.ts';
import type {ScoreRow} from '../scoring/score_row.ts';
import {fieldOf} from '../support/plain_text.ts';

/** A column of the output. Missing values are null. */
export type Column = {name: string; cellOf(row: ScoreRow): unknown} & (
  | {kind: 'text' | 'number' | 'predictions'}
  /** `length` is that of every vector. */
  | {kind: 'vector'; length: number}
);

/** The columns of the output; nested properties have a dot in the name, as in "error.code". */
export function columnsOf(
  {output = 'labels', fields = [], timing = false}: ScoreOptions,
  {numClasses, widths}: Pick<Architecture, 'numClasses' | 'widths'>,
): Column[] {
  const cell = (...path: string[]) => ({name: path.join('.'), cellOf: at(path)});
  const text = (...path: string[]): Column => ({...cell(...path), kind: 'text'});
  const number = (...path: string[]): Column => ({...cell(...path), kind: 'number'});
  const vector = (name: string, length: number): Column => ({...cell(name), kind: 'vector', length});
  const results: Readonly<Record<typeof output, Column[]>> = {
    labels: [text('label'), number('score'), {...cell('topK'), kind: 'predictions'}],
    logits: [vector('logits', numClasses)],
    embeddings: [vector('embedding', widths[4])],
  };
  return [
    text('id'),
    ...[...new Set(fields)].map(name => text('fields', name)),
    ...results[output],
    ...(timing ? [number('timing', 'prepareMilliseconds'), number('timing', 'computeMilliseconds')] : []),
    text('error', 'code'),
    text('error', 'message'),
  ];
}

function at(path: readonly string[]): (row: ScoreRow) => unknown {
  return row => {
    let value: unknown = row;
    for (const name of path) value = fieldOf(value as object | undefined, name);
    return value ?? null;
  };
}
