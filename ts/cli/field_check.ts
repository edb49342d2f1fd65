import {count} from '../plain_text.ts';
import type {ScoreSummary} from '../score.ts';
import {oneLine} from './output.ts';
import {endProgress} from './progress.ts';

/** A misspelt name is better known now than after the last of millions. */
const enoughRecords = 1000;

/** Warns, once, of fields that were asked for and that none of the records has. */
export class FieldCheck {
  #isDone = false;

  during(summary: Readonly<ScoreSummary>): void {
    if (!this.#isDone && recordsOf(summary) >= enoughRecords) this.#check(summary, 'first ');
  }

  atEnd(summary: Readonly<ScoreSummary>): void {
    if (!this.#isDone && recordsOf(summary) > 0) this.#check(summary, '');
  }

  #check(summary: Readonly<ScoreSummary>, first: string): void {
    this.#isDone = true;
    const {missingFields} = summary;
    if (missingFields.length === 0) return;
    endProgress();
    const records = `the ${first}${count(recordsOf(summary))} records`;
    console.error(oneLine(`repvgg: warning: none of ${records} has a field ${missingFields.join(', ')}.`));
  }
}

function recordsOf({ok, failed, skipped}: Readonly<ScoreSummary>): number {
  return ok + failed + skipped;
}
