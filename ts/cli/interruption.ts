import {constants} from 'node:os';

/** The time for a process to end on its own. */
const leaveMilliseconds = 1000;

/**
 * Handles SIGINT and SIGTERM: the first aborts `stop`, so that progress can be saved; a second has its default effect. SIGHUP is left
 * alone, because a listener would receive it even under nohup.
 */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  #signal: 'SIGINT' | 'SIGTERM' = 'SIGINT';
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#signal = signal as 'SIGINT' | 'SIGTERM';
    this.#controller.abort();
    this[Symbol.dispose]();
  };

  constructor() {
    process.on('SIGINT', this.#onSignal).on('SIGTERM', this.#onSignal);
  }

  get stop(): AbortSignal {
    return this.#controller.signal;
  }

  /** 130 or 143, as shells report these signals. */
  get exitCode(): number {
    return 128 + constants.signals[this.#signal];
  }

  /** Ends the process by the signal if something holds it up: the read of a silent named pipe, which nothing can cancel. */
  leave(): void {
    process.exitCode = this.exitCode;
    setTimeout(() => process.kill(process.pid, this.#signal), leaveMilliseconds).unref();
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal).off('SIGTERM', this.#onSignal);
  }
}

/**
 * Does work that leaves nothing behind once its signal is aborted, by SIGINT or SIGTERM. Resolves to undefined if it was, with the exit
 * code set.
 */
export async function interruptible<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result | undefined> {
  using interruption = new Interruption();
  try {
    return await work(interruption.stop);
  } catch (error) {
    if (!interruption.stop.aborted) throw error;
    interruption.leave();
    return undefined;
  }
}
