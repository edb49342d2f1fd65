import type {ScoreRow} from '../scoring/score_row.ts';
import {replaceFile} from '../support/replace_file.ts';
import type {Column} from './columns.ts';
import type {SinkFormat} from './formats.ts';
import type {Journal} from './journal.ts';
import {fromJournalLine} from './lines.ts';

/** Limits for a group of rows in Parquet and Arrow: encoding a group blocks this thread. */
const mostRowsInGroup = 10_000;
const mostNumbersInGroup = 2 ** 18;
/** Of the lines in the journal: fields can be of any length, and so can the lists of classes. */
const mostCharactersInGroup = 2 ** 24;

/**
 * Turns a complete journal into the output file.
 *
 * @throws the reason of `signal`, after which the journal is still complete
 */
export async function finish(
  journal: Journal,
  {write}: SinkFormat,
  columns: readonly Column[],
  signal: AbortSignal | undefined,
): Promise<void> {
  if (!write) return journal.become();
  await replaceFile(journal.path, file => write(file, columns, groupRows(journal, columns, signal)), signal);
  await journal.remove();
}

async function* groupRows(
  journal: Journal,
  columns: readonly Column[],
  signal: AbortSignal | undefined,
): AsyncGenerator<ScoreRow[]> {
  const numbers = columns.reduce((sum, column) => sum + (column.kind === 'vector' ? column.length : 0), 1);
  const most = Math.max(1, Math.min(mostRowsInGroup, Math.floor(mostNumbersInGroup / numbers)));
  let group: ScoreRow[] = [];
  let characters = 0;
  for await (const line of journal.lines()) {
    signal?.throwIfAborted();
    group.push(fromJournalLine(line));
    characters += line.length;
    if (group.length < most && characters < mostCharactersInGroup) continue;
    yield group;
    [group, characters] = [[], 0];
  }
  if (group.length > 0) yield group;
}
