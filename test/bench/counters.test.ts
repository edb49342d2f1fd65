// The counters that few machines have, by stand-ins: libraries that answer as the system or a driver would.
import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {instructionsPerImage, whyNoInstructions} from '../../ts/bench/counters.ts';
import {temporaryFolder} from '../cli/run.ts';
import {testOnLinux} from '../where.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const source = (name: string): string => `${root}/test/bench/counters/${name}`;

const build = async (t: ExecutionContext, name: string, ...args: string[]): Promise<string> => {
  const path = `${await temporaryFolder(t)}/${name}`;
  await run(process.env.CXX ?? 'c++', ['-o', path, ...args]);
  return path;
};

const count = `
  import {native} from './ts/native/addon.ts';
  const stop = native().countInstructions();
  const before = process.cpuUsage();
  let used = 0;
  // On a busy machine a tenth of a second is little, beside what is counted before and after.
  while (used < 3e5) {
    await native().measureLimits({device: 'cpu', precision: 'fp32', threads: 2, seconds: 0.1, copy: false});
    const {user, system} = process.cpuUsage(before);
    used = user + system;
  }
  console.log(typeof stop === 'string' ? stop : JSON.stringify([stop() / 1e9, used / 1e6]));`;

testOnLinux('what all threads do outside the kernel is counted, or why not is said', async t => {
  const library = await build(t, 'perf_event.so', '-shared', '-fPIC', '-xc', source('perf_event.c'), '-ldl');
  const say = async (error?: string): Promise<string> => {
    const env = {...process.env, LD_PRELOAD: library, ...(error && {PERF_EVENT_ERRNO: error})};
    const args = ['--import=tsx', '--input-type=module', '--eval', count];
    return (await run(process.execPath, args, {cwd: root, env})).stdout.trim();
  };
  const [counted, ...reasons] = await Promise.all([say(), say('2'), say('13'), say('24')]);
  if (counted.startsWith('[')) {
    const [threads, process] = JSON.parse(counted) as [number, number];
    // One of two threads left out would be a half, one counted twice one and a half; what is counted before and after is less.
    t.true(threads > 0.75 * process && threads < 1.35 * process, `${threads} of ${process} seconds`);
  } else {
    // Containers and virtual machines without even that one. Another kind of counter is an invalid argument there.
    t.notRegex(counted, /Invalid argument/);
    t.log(counted);
  }
  t.regex(reasons[0]!, /no counter of instructions$/);
  t.regex(reasons[1]!, /\(Permission denied\): (the container|kernel\.perf_event_paranoid is \d and may)/);
  t.regex(reasons[2]!, /\(Too many open files\)$/);
});

test('instructions are those of an image, and none where the counter says so or stays 0', async t => {
  let samples = 0;
  const engine = {
    sample: async () => ++samples,
    close: async () => {},
  };
  const counts = [80, 96, 72, 88, 80];
  const range = await instructionsPerImage(engine, 8, () => () => counts[samples - 1]!);
  t.deepEqual(range, {min: 9, median: 10, max: 12, runs: 5});
  t.is(await instructionsPerImage(engine, 8, () => 'it is broken'), null);
  t.is(
    whyNoInstructions(() => 'it is broken'),
    'it is broken',
  );
  t.is(await instructionsPerImage(engine, 8, () => () => 0), null);
  t.regex(
    whyNoInstructions(() => () => 0),
    /stays 0/,
  );
});

testOnLinux('the memory and energy of a GPU are read where its driver says them', async t => {
  const includes = ['-std=c++20', `-I${root}`, `-I${root}/test/bench/counters`];
  const program = await build(
    t,
    'print',
    ...includes,
    `${root}/cuda/counters.cc`,
    source('print.cc'),
    '-ldl',
  );
  const library = await build(t, 'libnvidia-ml.so.1', '-shared', '-fPIC', '-xc', source('nvml.c'));
  const LD_LIBRARY_PATH = library.slice(0, library.lastIndexOf('/'));
  const print = async (env: Record<string, string>): Promise<string> => (await run(program, {env})).stdout;
  t.is(await print({LD_LIBRARY_PATH}), '0: 5000 bytes 1500 mJ\n1:\n0: 5000 bytes 3000 mJ\n');
  t.is(await print({LD_LIBRARY_PATH, NVML_ERROR: '3'}), '0: 5000 bytes\n1:\n0: 5000 bytes\n');
  t.is(await print({}), '0: 5000 bytes\n1:\n0: 5000 bytes\n');
});
