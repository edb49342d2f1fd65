/** A process of `npm run fuzz`: mutates and examines until so many are done, and reports each batch. */

import {Random} from '../random.ts';
import {examine} from './examine.ts';
import {mutate} from './mutate.ts';
import {seeds} from './seeds.ts';

const [name, count] = process.argv.slice(2);
const batch = 1000;
const outcomes: Record<string, number> = {};
let slowest = 0;
// Most files are refused, and traces of where are most of what that costs.
Error.stackTraceLimit = 0;
for (let done = 0; done < Number(count); ) {
  // A batch that the process does not survive can be made again without those before it.
  const random = new Random(`${name} ${done}`);
  for (let i = 0; i < batch && done < Number(count); i++, done++) {
    const seed = random.pick(seeds);
    const mutant = mutate(seed, seeds, random);
    try {
      const {outcome, milliseconds} = await examine(mutant);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      slowest = Math.max(slowest, milliseconds);
    } catch (error) {
      process.send!({found: {seed: seed.name, problem: String(error), base64: mutant.toString('base64')}});
    }
  }
  process.send!({done, outcomes, slowest});
}
