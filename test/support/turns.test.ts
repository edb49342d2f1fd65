import {setImmediate as turn} from 'node:timers/promises';
import test from 'ava';
import type {DeployBlock, TrainBlock} from '../../ts/network.ts';
import {inSlices} from '../../ts/support/turns.ts';
import {collect, memoryCheckpoint, networkFromCheckpoint, smallNetwork, stateDict} from '../checkpoints.ts';
import {fuseBlock, roundToFloat32} from '../fusion/fusion_algebra.ts';

/** Counts the turns of the event loop that others get while something runs. */
async function turnsDuring(run: Promise<unknown>): Promise<number> {
  let [turns, done] = [0, false];
  run
    .finally(() => {
      done = true;
    })
    .catch(() => {});
  while (!done) {
    await turn();
    turns++;
  }
  await run;
  return turns;
}

test('slices cover everything once and in order, with a turn of the event loop between them', async t => {
  for (const [count, itemLength, slices] of [
    [0, 1, 0],
    [1, 1, 1],
    [2 ** 18, 1, 1],
    [2 ** 18 + 1, 1, 2],
    [100, 2 ** 17, 50],
    [3, 2 ** 20, 3],
  ] as const) {
    const seen: [number, number][] = [];
    const run = inSlices(count, (first, end) => seen.push([first, end]), {itemLength});
    const turns = await turnsDuring(run);
    t.is(seen.length, slices);
    t.true(turns >= slices - 1, `${turns} turns`);
    t.deepEqual(
      seen.flatMap(([first, end]) => Array.from({length: end - first}, (_, i) => first + i)),
      Array.from({length: count}, (_, i) => i),
    );
  }
});

test('an abort ends the work after the slice', async t => {
  const controller = new AbortController();
  const reason = new Error('enough');
  let slices = 0;
  const run = inSlices(10, () => slices++ === 2 && controller.abort(reason), {
    itemLength: 2 ** 18,
    signal: controller.signal,
  });
  t.is(await t.throwsAsync(run), reason);
  t.is(slices, 3);
});

// 1.3 million numbers in the widest kernel: five slices.
const wide = {...smallNetwork, widths: [8, 8, 12, 380, 380] as const, groups: 1};

test('a block fused in slices is the block fused in one go, and others have their turns meanwhile', async t => {
  const network = networkFromCheckpoint(memoryCheckpoint(stateDict(wide, 'official', 'train')));
  const train = await collect(network.blocks('train'));
  const deploy: DeployBlock[] = [];
  const turns = await turnsDuring(
    (async () => {
      for await (const block of network.blocks('deploy')) deploy.push(block as DeployBlock);
    })(),
  );
  for (const [i, block] of train.entries()) {
    const {weight, bias} = roundToFloat32(fuseBlock(block as TrainBlock));
    t.deepEqual(deploy[i]!.bias, bias);
    t.true(Buffer.from(deploy[i]!.weight.buffer).equals(Buffer.from(weight.buffer)));
  }
  // Each of the three wide kernels takes at least four turns, and two kernels may have them together.
  t.true(turns >= 12, `${turns} turns`);
});

test('an abort ends reading between blocks', async t => {
  const network = networkFromCheckpoint(memoryCheckpoint(stateDict(smallNetwork, 'official', 'train')));
  for (const form of ['train', 'deploy'] as const) {
    const controller = new AbortController();
    const reason = new Error('enough');
    let blocks = 0;
    const read = async (): Promise<void> => {
      for await (const _ of network.blocks(form, controller.signal))
        if (++blocks === 3) controller.abort(reason);
    };
    t.is(await t.throwsAsync(read), reason);
    t.is(blocks, 3);
  }
});
