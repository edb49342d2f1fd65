import {createHash} from 'node:crypto';
import type {Floats} from '../network.ts';
import type {TensorInfo} from './checkpoint.ts';
import {checksum} from './checksum.ts';

/**
 * Identifies the parameters of a network by the names and values of the tensors that were read, so that a checkpoint in several
 * files, or with parts that are not used, is identified like any other. A cryptographic hash of each tensor would take as long
 * as loading; its CRC-32 takes a hundredth of that, and tells networks apart that differ by training or rounding. Not a
 * protection against forgery.
 */
export class ParameterDigest {
  /** Null for a tensor that was located and not yet read. */
  readonly #checksums = new Map<string, number | null>();

  /** These tensors, whose values are added when they are read. */
  watch(tensors: ReadonlyMap<string, TensorInfo>): Map<string, TensorInfo> {
    return new Map(Array.from(tensors, ([name, tensor]) => [name, this.#watched(tensor)]));
  }

  #watched({name, dtype, shape, ...tensor}: TensorInfo): TensorInfo {
    return {
      name,
      dtype,
      shape,
      read: async () => {
        const values = await tensor.read();
        await this.add(name, values);
        return values;
      },
      locate:
        tensor.locate &&
        (async () => {
          const range = await tensor.locate!();
          if (!this.#checksums.has(name)) this.#checksums.set(name, null);
          const verify = (crc32: number): void => {
            range.verify?.(crc32);
            this.#checksums.set(name, crc32);
          };
          return {...range, verify};
        }),
    };
  }

  async add(name: string, {buffer, byteOffset, byteLength}: Floats): Promise<void> {
    this.#checksums.set(name, await checksum(new Uint8Array(buffer, byteOffset, byteLength)));
  }

  /**
   * 16 hexadecimal digits, the same for any order of reading. `epsilon` is that of the batch normalisations.
   *
   * @throws {Error} if a tensor was located whose values were not read, or read without a call of its `verify`
   */
  value(epsilon: number | null): string {
    for (const [name, sum] of this.#checksums) {
      if (sum === null) throw new Error(`Tensor ${name} was read without a checksum.`);
    }
    const sums = [...this.#checksums].sort(([a], [b]) => (a < b ? -1 : 1));
    return createHash('sha256')
      .update(JSON.stringify([epsilon, sums]))
      .digest('hex')
      .slice(0, 16);
  }
}
