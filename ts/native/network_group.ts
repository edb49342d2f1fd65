import {RepVGGError} from '../errors.ts';
import type {NativeBatch, NativeBlock, NativeNetwork, NativeOutput, NativeTopK} from './addon.ts';

export interface GroupMember {
  /** The device's name, such as "cuda:0". */
  name: string;
  network: NativeNetwork;
}

/**
 * One network on several devices, each with a copy of the weights. Batches are distributed round-robin. A device that fails
 * is excluded from then on, with a warning, and its batches go to the others: a run fails only if no device is left.
 */
export class NetworkGroup implements NativeNetwork {
  readonly #all: readonly GroupMember[];
  #usable: GroupMember[];
  #next = 0;

  constructor(members: readonly GroupMember[]) {
    this.#all = members;
    this.#usable = [...members];
  }

  setBlock(index: number, block: NativeBlock): Promise<void> {
    return this.#onAll(network => network.setBlock(index, block));
  }

  /** Blocks are fused once, into memory from which all devices are filled. */
  makeSink(): null {
    return null;
  }

  setLinear(linear: {weight: Float32Array; bias: Float32Array}): Promise<void> {
    return this.#onAll(network => network.setLinear(linear));
  }

  run(batch: NativeBatch, output: NativeOutput, cancel: Uint8Array): Promise<Float32Array> {
    return this.#onNext(network => network.run(batch, output, cancel));
  }

  runTopK(batch: NativeBatch, k: number, cancel: Uint8Array): Promise<NativeTopK> {
    return this.#onNext(network => network.runTopK(batch, k, cancel));
  }

  /** The sum over all usable devices, measured concurrently. */
  async measureRate(batch: NativeBatch, seconds: number, cancel: Uint8Array): Promise<number> {
    if (this.#usable.length === 0) throw this.#allLost();
    const rates = await Promise.all(
      this.#usable.map(({network}) => network.measureRate(batch, seconds, cancel)),
    );
    return rates.reduce((sum, rate) => sum + rate);
  }

  describe(): Promise<string> {
    return this.#all[0]!.network.describe();
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#all.map(({network}) => network.dispose()));
  }

  /** The first device measures the algorithms and caches the results, so that equal devices choose the same ones unmeasured. */
  async #onAll(work: (network: NativeNetwork) => Promise<void>): Promise<void> {
    const [first, ...others] = this.#all;
    await work(first!.network);
    await Promise.all(others.map(({network}) => work(network)));
  }

  async #onNext<Result>(work: (network: NativeNetwork) => Promise<Result>): Promise<Result> {
    for (;;) {
      const member = this.#usable[this.#next++ % this.#usable.length];
      if (!member) throw this.#allLost();
      try {
        return await work(member.network);
      } catch (error) {
        const {code, message} = error as {code?: string; message: string};
        if (code !== 'ERR_DEVICE_LOST') throw error;
        this.#leaveOut(member, message);
      }
    }
  }

  #allLost(): RepVGGError {
    const names = this.#all.map(({name}) => name).join(', ');
    const message = `Every device of the model has failed (${names}): load it again.`;
    return new RepVGGError('ERR_DEVICE_LOST', message);
  }

  #leaveOut(member: GroupMember, why: string): void {
    if (!this.#usable.includes(member)) return; // Another of its batches failed before.
    this.#usable = this.#usable.filter(other => other !== member);
    process.emitWarning(`${member.name} is left out from now on: ${why}`, {code: 'ERR_DEVICE_LOST'});
  }
}
