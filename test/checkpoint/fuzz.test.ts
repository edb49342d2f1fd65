import test from 'ava';
import {examine} from '../fuzz/examine.ts';
import {mutate} from '../fuzz/mutate.ts';
import {seeds} from '../fuzz/seeds.ts';
import {Random} from '../random.ts';

/** Over all seeds. `npm run fuzz` makes as many as there is time for. */
const mutations = 20_000;

// One after the other, since memory is counted.
for (const seed of seeds) {
  test.serial(
    `whatever becomes of ${seed.name}, it is refused in words or read, soon and in little memory`,
    async t => {
      const random = new Random(`fuzz ${seed.name}`);
      const outcomes = new Map<string, number>();
      const first = await examine(seed.bytes);
      for (let i = 0; i < Math.ceil(mutations / seeds.length); i++) {
        const mutant = mutate(seed, seeds, random);
        const {outcome} = await examine(mutant).catch((cause: unknown) => {
          throw new Error(`mutation ${i}, ${mutant.toString('base64')}: ${String(cause)}`, {cause});
        });
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
      t.log(Object.fromEntries(outcomes));
      t.true(outcomes.get('ERR_CHECKPOINT_CORRUPT')! > 0);
      // Some damage is to weights alone, or to what nobody reads.
      t.true(outcomes.get(first.outcome)! > 0);
    },
  );
}
