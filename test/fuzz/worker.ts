/** A process of `npm run fuzz`: mutates and examines until it is told to stop, and reports as it goes. */

import {Random} from '../random.ts';
import {examine} from './examine.ts';
import {mutate} from './mutate.ts';
import {seeds} from './seeds.ts';

const [name, count] = process.argv.slice(2);
const random = new Random(name!);
const batch = 1000;
const outcomes: Record<string, number> = {};
let slowest = 0;
for (let done = 0; done < Number(count); ) {
  for (let i = 0; i < batch && done < Number(count); i++, done++) {
    const seed = random.pick(seeds);
    const mutant = mutate(seed, seeds, random);
    try {
      const {outcome, milliseconds} = await examine(mutant);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      slowest = Math.max(slowest, milliseconds);
    } catch (error) {
      const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
      process.send!({found: {seed: seed.name, problem, base64: mutant.toString('base64')}});
    }
  }
  process.send!({done, outcomes, slowest});
}
