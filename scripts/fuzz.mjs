// Searches for files that make a reader crash, hang, use too much memory or fail with an error that has no code:
//
//   npm run fuzz -- [--mutations 10000000] [--seconds N] [--coverage-seconds 600] [--seed NAME]
//
// First it reads mutations of small files of every format on all cores, up to the given number or time. Then it runs jazzer.js, which is
// guided by coverage (npx installs it for the run, which needs the network; --coverage-seconds 0 omits it). Findings are kept in
// fuzz-findings/, and the exit code is then 1.
import {fork, spawnSync} from 'node:child_process';
import {mkdirSync, readdirSync, writeFileSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';

const jazzer = '@jazzer.js/core@4.0.0';
const {values} = parseArgs({
  options: {
    mutations: {type: 'string', default: '10000000'},
    seconds: {type: 'string', default: 'Infinity'},
    'coverage-seconds': {type: 'string', default: '600'},
    seed: {type: 'string', default: new Date().toISOString().slice(0, 10)},
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const findings = join(root, 'fuzz-findings');
/** A process without a report for this long hangs: a batch takes a second. */
const hangMilliseconds = 600_000;

let found = await mutations(Number(values.mutations), 1000 * Number(values.seconds));
const seconds = Number(values['coverage-seconds']);
if (seconds > 0) found += await coverage(seconds);
process.exitCode = found > 0 ? 1 : 0;

async function mutations(count, milliseconds) {
  const cores = availableParallelism();
  const reports = Array.from({length: cores}, () => ({done: 0, outcomes: {}, slowest: 0}));
  const start = performance.now();
  let kept = 0;
  const work = (_, i) =>
    new Promise((resolve, reject) => {
      const args = [`${values.seed} ${i}`, String(Math.ceil(count / cores))];
      const child = fork(join(root, 'test/fuzz/worker.ts'), args, {
        execArgv: ['--import=tsx', '--max-semi-space-size=16'],
      });
      const timer = milliseconds < 2 ** 31 ? setTimeout(() => child.kill(), milliseconds) : undefined;
      const watch = setTimeout(() => child.kill('SIGKILL'), hangMilliseconds);
      child.on('message', message => {
        watch.refresh();
        if (message.found) kept += keep(message.found);
        else reports[i] = message;
      });
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        clearTimeout(timer);
        clearTimeout(watch);
        if (code === 0 || (signal === 'SIGTERM' && performance.now() - start >= milliseconds))
          return resolve();
        const batch = `the batch after mutation ${reports[i].done} of "${args[0]}"`;
        reject(new Error(`a process of the fuzzer ended with ${signal ?? `exit code ${code}`} in ${batch}`));
      });
    });
  await Promise.all(reports.map(work));
  const done = reports.reduce((sum, report) => sum + report.done, 0);
  const outcomes = {};
  for (const report of reports) {
    for (const [name, number] of Object.entries(report.outcomes))
      outcomes[name] = (outcomes[name] ?? 0) + number;
  }
  const elapsed = (performance.now() - start) / 1000;
  console.log(
    `${done} mutations in ${elapsed.toFixed(0)} s, ${(done / elapsed).toFixed(0)} a second (seed ${values.seed})`,
  );
  console.log(
    `slowest ${Math.max(...reports.map(report => report.slowest)).toFixed(0)} ms, ${kept} findings`,
  );
  console.log(outcomes);
  return kept;
}

function keep({seed, problem, base64}) {
  mkdirSync(findings, {recursive: true});
  const file = join(findings, `${Date.now()}-${readdirSync(findings).length}`);
  writeFileSync(file, Buffer.from(base64, 'base64'));
  writeFileSync(`${file}.txt`, `${seed}\n${problem}\n`);
  console.error(`found in ${seed}, kept as ${file}: ${problem}`);
  return 1;
}

/** Runs jazzer.js on a CommonJS bundle of the readers, the only module format that it can instrument. */
async function coverage(time) {
  const {build} = await import('esbuild');
  const corpus = join(findings, 'corpus');
  mkdirSync(corpus, {recursive: true});
  const bundle = join(findings, 'target.cjs');
  const common = {bundle: true, platform: 'node', target: 'node20', absWorkingDir: root, logLevel: 'error'};
  await build({...common, entryPoints: ['test/fuzz/target.ts'], format: 'cjs', outfile: bundle});
  const seeds = join(findings, 'seeds.mjs');
  await build({...common, entryPoints: ['test/fuzz/seeds.ts'], format: 'esm', outfile: seeds});
  for (const {name, bytes} of (await import(seeds)).seeds)
    writeFileSync(join(corpus, name.replaceAll(/\W/g, '-')), bytes);
  const options = [`-max_total_time=${time}`, '-max_len=4096', '-timeout=5', `-artifact_prefix=${findings}/`];
  const args = ['--yes', `--package=${jazzer}`, 'jazzer', bundle, corpus, '-i=target', '--sync=false'];
  const before = artifacts();
  const {status} = spawnSync('npx', [...args, '--', ...options], {stdio: 'inherit', cwd: findings});
  const found = artifacts().filter(name => !before.includes(name));
  for (const name of found) console.error(`found by jazzer.js, kept as ${join(findings, name)}`);
  if (status !== 0 && found.length === 0) {
    throw new Error(
      'jazzer.js did not run; its prebuilt binaries need glibc 2.38 (--coverage-seconds 0 omits it)',
    );
  }
  return found.length;
}

/** The findings of libFuzzer. */
function artifacts() {
  return readdirSync(findings).filter(name => /^(crash|timeout|oom|slow-unit)-/.test(name));
}
