import {readdir, readlink} from 'node:fs/promises';
import test from 'ava';
import {native} from '../../ts/native/addon.ts';

const cpu = {device: 'cpu', precision: 'fp32'} as const;

test('the limits of the machine are those of a processor that exists', async t => {
  const limits = await native().measureLimits({...cpu, threads: 2, seconds: 0.02, copy: true});
  const {instructionSet, fmaGflops, matrixGflops, copyGBps, l2GBps} = limits;
  t.is(l2GBps, null);
  t.is(instructionSet, native().cpuInfo().instructionSets[0]!);
  // Two 512-bit multiply-adds a cycle at 6 GHz are 384 GFLOP/s: more would be a loop that was optimised away.
  t.true(fmaGflops > 1 && fmaGflops < 2 * 400, `${fmaGflops}`);
  t.is(matrixGflops === null, native().cpuInfo().bf16 === null);
  if (matrixGflops !== null)
    t.true(matrixGflops > fmaGflops && matrixGflops < 2 * 16 * 400, `${matrixGflops}`);
  t.true(copyGBps > 0.1 && copyGBps < 2000, `${copyGBps}`);
  // Of one thread while it runs, which is no less than its share of what both did by the clock.
  const {fmaPerCpuSecond, matrixPerCpuSecond} = limits;
  t.true(fmaPerCpuSecond! > (0.99 * fmaGflops) / 2 && fmaPerCpuSecond! < 400, `${fmaPerCpuSecond}`);
  t.is(matrixPerCpuSecond === null, matrixGflops === null);
});

test('the copy is left out when it is not asked for', async t => {
  t.is((await native().measureLimits({...cpu, threads: 1, seconds: 0.01, copy: false})).copyGBps, 0);
});

test.serial(
  'a result that JavaScript cannot be given is an error of the call, not the end of the process',
  async t => {
    const failure = new Error('No such property.');
    Object.defineProperty(Object.prototype, 'fmaPerCpuSecond', {
      configurable: true,
      set() {
        throw failure;
      },
    });
    try {
      const measuring = native().measureLimits({...cpu, threads: 1, seconds: 0.01, copy: false});
      t.is(await t.throwsAsync(measuring), failure);
    } finally {
      Reflect.deleteProperty(Object.prototype, 'fmaPerCpuSecond');
    }
  },
);

test('a GPU that is not there has no limits, and says nothing of itself', async t => {
  const none = {device: 'cuda:99', precision: 'fp16', threads: 1, seconds: 0.01, copy: false} as const;
  await t.throwsAsync(native().measureLimits(none), {code: 'ERR_DEVICE_UNAVAILABLE', message: /"cuda:99"/});
  t.deepEqual(native().cudaCounters(99), {memoryBytes: null, millijoules: null});
});

test('instructions are counted by all threads where the system lets us, and each count is let go of', async t => {
  const count = async (work: () => Promise<unknown>): Promise<number | undefined> => {
    const stop = native().countInstructions();
    await work();
    if (typeof stop === 'string') return;
    const counted = stop();
    t.is(stop(), 0);
    return counted;
  };
  const nothing = await count(async () => {});
  // The loops run on threads of their own.
  const loops = await count(() => native().measureLimits({...cpu, threads: 2, seconds: 0.1, copy: false}));
  if (loops === undefined) t.log('not counted: there is no such counter here');
  else t.true(loops > 10 * nothing! && loops > 1e7, `${nothing} and ${loops} instructions`);
  const open = await Promise.all(
    (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  t.deepEqual(
    open.filter(path => path.includes('perf_event')),
    [],
  );
});
