import {constants} from 'node:os';

/**
 * SIGINT and SIGTERM: the first asks to stop and save what there is, a second ends the process as it would without us. Not
 * SIGHUP, which whoever listens to gets also under nohup.
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

  /** As a shell has it: 130 or 143. */
  get exitCode(): number {
    return 128 + constants.signals[this.#signal];
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal).off('SIGTERM', this.#onSignal);
  }
}
