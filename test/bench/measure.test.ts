import {setTimeout as sleep} from 'node:timers/promises';
import test from 'ava';
import {type Contestant, interleave, repeat, stream, timeEach, tryOut} from '../../ts/bench/measure.ts';
import {median, percentilesOf, rangeOf} from '../../ts/bench/results.ts';

test('contestants take turns, and another one begins each round', async t => {
  const calls: string[] = [];
  const contestant = (name: string, rate: number): Contestant => ({
    async sample() {
      calls.push(name);
      return rate;
    },
    async close() {},
  });
  const schedule = {rounds: 3, sampleSeconds: 0.1, latencySeconds: 0, limitSeconds: Infinity};
  const measured = await interleave([contestant('a', 1), contestant('b', 2)], schedule, async () =>
    calls.push('reference'),
  );
  t.is(calls.join(' '), 'a b reference a b reference b a reference a b');
  t.deepEqual(measured.images, [
    [1, 1, 1],
    [2, 2, 2],
  ]);
  t.is(measured.references.length, 3);
  t.deepEqual(
    measured.cores.map(({length}) => length),
    [3, 3],
  );
});

test('latencies are those of all rounds together, without the warm-up', async t => {
  const asked: number[] = [];
  const timed: Contestant = {
    sample: async () => 1,
    async latencies(seconds) {
      asked.push(seconds);
      return [asked.length, 10 * asked.length];
    },
    async close() {},
  };
  const untimed: Contestant = {sample: async () => 1, close: async () => {}};
  const broken: Contestant = {
    ...untimed,
    async latencies() {
      throw new Error('broken');
    },
  };
  const schedule = {rounds: 3, sampleSeconds: 0.2, latencySeconds: 0.1, limitSeconds: Infinity};
  const {latencies, failures} = await interleave([timed, untimed, broken], schedule, async () => null);
  t.deepEqual(latencies, [[2, 20, 3, 30, 4, 40], [], []]);
  t.deepEqual(asked, [0, 0.1, 0.1, 0.1]);
  t.deepEqual([...failures.keys()], [2]);
});

test('cores are those that this process is busy on, whoever waits', async t => {
  const elapsed: number[] = [];
  const busy: Contestant = {
    async sample() {
      const [start, before] = [performance.now(), process.cpuUsage()];
      let used = 0;
      while (used < 1e5) {
        const {user, system} = process.cpuUsage(before);
        used = user + system;
      }
      await sleep(100);
      elapsed.push((performance.now() - start) / 1000);
      return 1;
    },
    async close() {},
  };
  const {cores} = await interleave(
    [busy],
    {rounds: 3, sampleSeconds: 0, latencySeconds: 0, limitSeconds: Infinity},
    async () => null,
  );
  // A tenth of a second each, and what the runtime does besides.
  const seconds = median(cores[0]!.map((count, i) => count * elapsed.at(i - 3)!));
  t.true(seconds > 0.099 && seconds < 0.15, `${seconds}`);
});

test('what is too slow to be measured is found out by one batch', async t => {
  const of = async (...rates: number[]): Promise<[number, number]> => {
    const contestant = {sample: async () => rates.shift()!, close: async () => {}};
    return [await tryOut(contestant, 8, 2), rates.length];
  };
  t.deepEqual(await of(1, 9), [8, 1]);
  t.deepEqual(await of(2, 8), [1, 0], 'the first may be slower');
});

test('one that fails takes nobody with it', async t => {
  let turns = 0;
  const dies: Contestant = {
    async sample() {
      if (++turns === 3) throw new Error('gone');
      return 2;
    },
    async close() {},
  };
  const lives: Contestant = {sample: async () => 1, close: async () => {}};
  const schedule = {rounds: 4, sampleSeconds: 0, latencySeconds: 0, limitSeconds: Infinity};
  const {images, failures} = await interleave([lives, dies], schedule, async () => null);
  t.deepEqual(images[0], [1, 1, 1, 1]);
  t.deepEqual([...failures], [[1, new Error('gone')]]);
  t.is(turns, 3, 'it is not asked again');
});

test('a slow machine has fewer rounds, but three', async t => {
  const slow: Contestant = {
    async sample() {
      await sleep(20);
      return 1;
    },
    async close() {},
  };
  const schedule = {rounds: 7, sampleSeconds: 0.02, latencySeconds: 0, limitSeconds: 0.01};
  t.is((await interleave([slow], schedule, async () => null)).images[0]!.length, 3);
});

test('a sample goes on for as long as it should, and at least once', async t => {
  let runs: {begin: number; end: number}[] = [];
  const run = async (): Promise<void> => {
    const begin = performance.now();
    await sleep(20);
    runs.push({begin, end: performance.now()});
  };
  t.true((await repeat(run, 4, 0)) <= 4 / 0.019);
  t.is(runs.length, 1);
  runs = [];
  const start = performance.now();
  const rate = await repeat(run, 4, 0.1);
  const seconds = (performance.now() - start) / 1000;
  // Bounds that hold however long a busy machine sleeps.
  t.true(seconds >= 0.1 && runs.slice(0, -1).every(({end}) => end - runs[0]!.begin < 100), `${seconds} s`);
  t.true(rate >= (4 * runs.length) / seconds && rate <= (4 * runs.length) / 0.1, `${rate}`);
});

test('the rate of a stream is that of two calls in flight', async t => {
  let [now, most, calls] = [0, 0, 0];
  const run = async (): Promise<void> => {
    calls++;
    most = Math.max(most, ++now);
    await sleep(40);
    now--;
  };
  // Pairs end together, 40 ms apart.
  const rate = await stream(run, 1, 0.1);
  t.true(rate > 0 && rate < 60, `${rate}`);
  t.true(calls >= 3, `${calls}`);
  t.is(most, 2);
  t.is(now, 0);
});

test('single runs are timed one at a time, each until its result is there', async t => {
  let [now, most] = [0, 0];
  const run = async (): Promise<void> => {
    most = Math.max(most, ++now);
    await sleep(20);
    now--;
  };
  t.is((await timeEach(run, 0)).length, 1);
  const start = performance.now();
  const times = await timeEach(run, 0.1);
  const elapsed = performance.now() - start;
  t.true(elapsed >= 100 && times.length >= 1 && times.length <= 6, `${elapsed} ms, ${times}`);
  // Timers of Node may fire a millisecond early.
  t.true(times.every(time => time > 18) && times.reduce((a, b) => a + b) <= elapsed, `${times}`);
  t.is(most, 1);
});

// What numpy.percentile(values, [50, 90, 99]) gives.
test('percentiles are interpolated, and there are none that no run is beyond', t => {
  const of = (count: number): number[] => Array.from({length: count}, (_, i) => (7 * i) % count);
  const near = (values: object | null, expected: object): void => {
    for (const [name, value] of Object.entries(expected) as [string, number | null][]) {
      const got = (values as Record<string, number | null>)[name]!;
      t.true(value === null ? got === null : Math.abs(got - value) < 1e-9, `${name}: ${got}`);
    }
  };
  near(percentilesOf(of(100)), {p50: 49.5, p90: 89.1, p99: 98.01, runs: 100});
  near(percentilesOf(of(99)), {p50: 49, p90: 88.2, p99: null, runs: 99});
  near(percentilesOf(of(10)), {p50: 4.5, p90: 8.1, p99: null, runs: 10});
  near(percentilesOf([3, 1, 2, 4]), {p50: 2.5, p90: null, p99: null, runs: 4});
  near(percentilesOf([5]), {p50: 5, p90: null, p99: null, runs: 1});
  t.is(percentilesOf([]), null);
});

test('medians', t => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([4, 1, 2, 3]), 2.5);
  t.deepEqual(rangeOf([10, 9, 30]), {min: 9, median: 10, max: 30, runs: 3});
});
