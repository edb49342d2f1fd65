import type {ScoreOptions, ScoreRow} from '../score.ts';

/** A column of a table of rows. What a row does not have is null. */
export interface Column {
  name: string;
  kind: 'text' | 'number' | 'predictions' | 'vector';
  cellOf(row: ScoreRow): unknown;
}

/** The columns of a table of rows: names inside an object are behind a dot, as in "error.code". */
export function columnsOf({output = 'labels', fields = [], timing = false}: ScoreOptions): Column[] {
  const text = (...path: string[]): Column => ({name: path.join('.'), kind: 'text', cellOf: at(path)});
  const number = (...path: string[]): Column => ({...text(...path), kind: 'number'});
  const results: Readonly<Record<typeof output, Column[]>> = {
    labels: [text('label'), number('score'), {...text('topK'), kind: 'predictions'}],
    logits: [{...text('logits'), kind: 'vector'}],
    embeddings: [{...text('embedding'), kind: 'vector'}],
  };
  return [
    text('id'),
    ...fields.map(name => text('fields', name)),
    ...results[output],
    ...(timing ? [number('timing', 'prepareMilliseconds'), number('timing', 'computeMilliseconds')] : []),
    text('error', 'code'),
    text('error', 'message'),
  ];
}

function at(path: readonly string[]): (row: ScoreRow) => unknown {
  return row => {
    let value: unknown = row;
    for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name];
    return value ?? null;
  };
}
