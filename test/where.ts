/** Tests that need something which not every machine has. */
import test, {type ExecutionContext} from 'ava';
import {native} from '../ts/native/addon.ts';

type Declare = (title: string, run: (t: ExecutionContext) => unknown) => void;

/**
 * Declares tests as ava's `test` does where the machine has it. Elsewhere they are skipped, and their titles say why. `npm test` itself
 * fetches some of it: with `REPVGG_CI=1`, as in .ci/run, tests that need that fail instead.
 */
export function testWhere(
  has: boolean,
  reason: string,
  {fetched = false}: {fetched?: boolean} = {},
): Declare & {serial: Declare} {
  const declare =
    (to: typeof test | typeof test.serial): Declare =>
    (title, run) => {
      if (has) to(title, run);
      else if (fetched && process.env.REPVGG_CI === '1') to(title, t => t.fail(reason));
      else to.skip(`${title} (skipped: ${reason})`, run);
    };
  return Object.assign(declare(test), {serial: declare(test.serial)});
}

type Where = ReturnType<typeof testWhere>;

const {bf16, jpeg} = native().cpuInfo();

export const testOnLinux: Where = testWhere(process.platform === 'linux', 'this is not Linux');
export const testWithBf16: Where = testWhere(bf16 !== null, 'the processor has no bf16');
export const testWithJpeg: Where = testWhere(
  jpeg !== null,
  'the addon was built without libjpeg-turbo, see docs/decoding.md',
  {fetched: true},
);
