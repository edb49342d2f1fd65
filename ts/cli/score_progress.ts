import {usableCores} from '../native/usable_cores.ts';
import type {ScoreSummary} from '../scoring/score.ts';
import type {SourceOptions} from '../sources/options.ts';
import {formatCount} from '../support/plain_text.ts';
import {endProgress, progressWidth, showProgress} from './progress.ts';

const interval = 200;
const barWidth = 20;
/** Rates are averaged over this time. */
const windowMilliseconds = 3000;

type Sample = ScoreSummary & {time: number};

/** A progress line on standard error, unless that is not a terminal or the same terminal shows the rows. */
export class ScoreProgress implements Disposable {
  readonly #begin = performance.now();
  readonly #leaving = new AbortController();
  readonly #isShown: boolean;
  #samples: Sample[] = [];
  #total: number | undefined;
  #last: Readonly<ScoreSummary> | undefined;

  constructor(source: string, options: SourceOptions, output: string) {
    this.#isShown = process.stderr.isTTY && !(output === '-' && process.stdout.isTTY);
    if (this.#isShown) void this.#count(source, options);
  }

  show(summary: Readonly<ScoreSummary>): void {
    this.#last = summary;
    const time = performance.now();
    if (!this.#isShown || time - (this.#samples.at(-1)?.time ?? 0) < interval) return;
    this.#samples.push({...summary, time});
    this.#samples = this.#samples.filter(sample => time - sample.time <= windowMilliseconds);
    showProgress(this.#line({...summary, time}));
  }

  [Symbol.dispose](): void {
    this.#leaving.abort();
    endProgress();
    if (!process.stderr.isTTY || !this.#last) return;
    const {ok, failed, skipped} = this.#last;
    const seconds = (performance.now() - this.#begin) / 1000;
    const parts = [
      `${formatCount(ok)} scored`,
      `${formatCount(failed)} failed`,
      ...(skipped ? [`${formatCount(skipped)} done before`] : []),
    ];
    console.error(`${parts.join(', ')} in ${clock(seconds)}: ${rate((ok + failed) / seconds)}`);
  }

  #line(now: Sample): string {
    const done = now.ok + now.failed + now.skipped;
    const first = this.#samples[0]!;
    const elapsed = Math.max(1, now.time - first.time);
    const perSecond = (1000 * (now.ok + now.failed - first.ok - first.failed)) / elapsed;
    const percent = (value: number): string => `${Math.min(100, Math.round(100 * value))}%`;
    const decode = (now.prepareMilliseconds - first.prepareMilliseconds) / elapsed / usableCores();
    const device = (now.computeMilliseconds - first.computeMilliseconds) / elapsed;
    const total = this.#total;
    const parts = [
      total === undefined ? formatCount(done) : `${formatCount(done)} of ${formatCount(total)}`,
      ...(now.failed > 0 ? [`${formatCount(now.failed)} failed`] : []),
      rate(perSecond),
      ...(total !== undefined && perSecond > 0 ? [`ETA ${clock((total - done) / perSecond)}`] : []),
      `decode ${percent(decode)}`,
      `device ${percent(device)}`,
    ];
    const line = parts.join('  ');
    const bar = total === undefined ? '' : `${barOf(done / total)} `;
    return bar.length + line.length <= progressWidth() ? bar + line : line;
  }

  /** Counts the records in the background. A source that is not cheap to count, such as a tar or standard input, has no ETA. */
  async #count(source: string, options: SourceOptions): Promise<void> {
    const {countRecords} = await import('../sources/count.ts');
    try {
      this.#total = await countRecords(source, {...options, signal: this.#leaving.signal});
    } catch {
      // Scoring reports the error.
    }
  }
}

function barOf(share: number): string {
  const filled = Math.min(barWidth, Math.round(barWidth * share));
  return `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}]`;
}

function rate(perSecond: number): string {
  return `${perSecond >= 100 ? formatCount(Math.round(perSecond)) : perSecond.toFixed(1)} images/s`;
}

function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}
