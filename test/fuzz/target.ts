/** What jazzer.js calls with bytes that it makes from the branches that earlier ones took. */
import {examine} from './examine.ts';

export async function fuzz(bytes: Buffer): Promise<void> {
  await examine(bytes);
}
