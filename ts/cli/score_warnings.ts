import type {ScoreSummary} from '../scoring/score.ts';
import {formatCount} from '../support/plain_text.ts';
import {oneLine} from './output.ts';
import {endProgress} from './progress.ts';

/** A misspelt field is reported after this many records, not only after the last of millions. */
const enoughRecords = 1000;

/** Warns once about requested fields that no record has, and about a source without records. */
export class ScoreWarnings {
  readonly #source: string;
  #areFieldsChecked = false;

  constructor(source: string) {
    this.#source = source === '-' ? 'standard input' : source;
  }

  during(summary: Readonly<ScoreSummary>): void {
    if (recordsOf(summary) >= enoughRecords) this.#checkFields(summary, 'first ');
  }

  atEnd(summary: Readonly<ScoreSummary>): void {
    if (recordsOf(summary) > 0) this.#checkFields(summary, '');
    else warn(`${this.#source} has no records, so the output has no rows.`);
  }

  #checkFields(summary: Readonly<ScoreSummary>, first: string): void {
    if (this.#areFieldsChecked) return;
    this.#areFieldsChecked = true;
    const {missingFields} = summary;
    if (missingFields.length === 0) return;
    const records = `the ${first}${formatCount(recordsOf(summary))} records`;
    warn(`none of ${records} has a field ${missingFields.join(', ')}.`);
  }
}

function warn(message: string): void {
  endProgress();
  console.error(oneLine(`repvgg: warning: ${message}`));
}

function recordsOf({ok, failed, skipped}: Readonly<ScoreSummary>): number {
  return ok + failed + skipped;
}
