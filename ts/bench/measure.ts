/** Something that is timed in turn with others. */
export interface Contestant {
  /** Runs for at least `seconds`, and at least once. Returns images per second. */
  sample(seconds: number): Promise<number>;
  /**
   * Runs one batch after the other for at least `seconds`, and at least once. Returns the milliseconds of each, from the call until its
   * result is in the caller's memory. Apart from `sample`, which keeps two in flight where that is faster. Absent without a network.
   */
  latencies?(seconds: number): Promise<number[]>;
  /** Releases its resources. */
  close(): Promise<void>;
}

export interface Schedule {
  rounds: number;
  /** Seconds per contestant and round for its rate. */
  sampleSeconds: number;
  /** The same for its latencies. */
  latencySeconds: number;
  /** No round starts after this many seconds, except the first three. */
  limitSeconds: number;
}

export interface Rounds<Reference> {
  /** images[c][r] are contestant c's images per second in round r. */
  images: number[][];
  /** cores[c][r] is the average number of cores that this process kept busy meanwhile. */
  cores: number[][];
  /** latencies[c] are contestant c's in all rounds, in milliseconds; empty if it has none. */
  latencies: number[][];
  /** references[r] is what `reference` returned before round r. */
  references: Reference[];
  /** Errors of contestants by index; their figures are invalid, those of the others complete. */
  failures: Map<number, unknown>;
}

const leastRounds = 3;
const warmUpSeconds = 0.3;

/**
 * Times contestants in turn, round by round, so that a temporary disturbance affects all of them. Each round starts with `reference`, and
 * with a different contestant. Before the rounds, each contestant warms up for up to 0.3 seconds, but at least one run.
 */
export async function interleave<Reference>(
  contestants: readonly Contestant[],
  {rounds, sampleSeconds, latencySeconds, limitSeconds}: Schedule,
  reference: () => Promise<Reference>,
): Promise<Rounds<Reference>> {
  const failures = new Map<number, unknown>();
  const attempt = async <Result>(index: number, work: () => Promise<Result>, otherwise: Result) => {
    if (failures.has(index)) return otherwise;
    try {
      return await work();
    } catch (error) {
      failures.set(index, error);
      return otherwise;
    }
  };
  const sample = (index: number, seconds: number): Promise<number> =>
    attempt(index, () => contestants[index]!.sample(seconds), Number.NaN);
  const latenciesOf = (index: number, seconds: number): Promise<number[]> =>
    attempt(index, async () => (await contestants[index]!.latencies?.(seconds)) ?? [], []);
  const warmUp = Math.min(warmUpSeconds, sampleSeconds);
  for (const index of contestants.keys()) {
    await sample(index, warmUp);
    await latenciesOf(index, 0);
  }
  const images: number[][] = contestants.map(() => []);
  const cores: number[][] = contestants.map(() => []);
  const latencies: number[][] = contestants.map(() => []);
  const references: Reference[] = [];
  const start = performance.now();
  for (let round = 0; round < rounds; round++) {
    if (round >= leastRounds && performance.now() - start > limitSeconds * 1000) break;
    references.push(await reference());
    for (let turn = 0; turn < contestants.length; turn++) {
      const index = (round + turn) % contestants.length;
      const begin = performance.now();
      const before = process.cpuUsage();
      images[index]!.push(await sample(index, sampleSeconds));
      const {user, system} = process.cpuUsage(before);
      cores[index]!.push((user + system) / (1000 * (performance.now() - begin)));
      for (const one of await latenciesOf(index, latencySeconds)) latencies[index]!.push(one);
    }
  }
  return {images, cores, latencies, references, failures};
}

/**
 * Runs a batch twice and returns the seconds of the second run, because the first also touches memory for the first time. If the first
 * takes more than twice `mostSeconds`, it is too slow in any case and its time is returned.
 */
export async function tryOut(contestant: Contestant, batch: number, mostSeconds: number): Promise<number> {
  const seconds = batch / (await contestant.sample(0));
  return seconds > 2 * mostSeconds ? seconds : batch / (await contestant.sample(0));
}

/** Repeats `run`, which handles `count` images, for `seconds`. Returns images per second. */
export async function repeat(run: () => Promise<unknown>, count: number, seconds: number): Promise<number> {
  const start = performance.now();
  let images = 0;
  let elapsed = 0;
  do {
    await run();
    images += count;
    elapsed = (performance.now() - start) / 1000;
  } while (elapsed < seconds);
  return images / elapsed;
}

/** Calls `run` again and again for `seconds`, one call at a time. Returns the milliseconds of each, until its result is there. */
export async function timeEach(run: () => Promise<unknown>, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  } while (performance.now() < end);
  return times;
}

/**
 * Keeps two calls of `run` in flight, as a bulk job does, and returns images per second from the end of the first call to the end of the
 * last: the steady rate, without the start-up.
 */
export async function stream(run: () => Promise<unknown>, count: number, seconds: number): Promise<number> {
  let current = run();
  let next = run();
  await current;
  const start = performance.now();
  let images = 0;
  let elapsed = 0;
  for (;;) {
    const last = elapsed >= seconds;
    current = next;
    if (!last) next = run();
    await current;
    images += count;
    elapsed = (performance.now() - start) / 1000;
    if (last) return images / elapsed;
  }
}
