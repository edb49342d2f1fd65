// Runs programs that may fail, crash or hang on a GPU so that the others still run: each has a limit of its own, all of
// them share a budget, and what they print is on disk as they print it.
import {spawn} from 'node:child_process';
import {appendFileSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {createInterface} from 'node:readline';

/** Seconds to end in, for a program that was killed; one that waits in the driver may never end. */
const dying = 10;
/** Times that one group of cases is started. */
const mostStarts = 12;

const alive = new Set();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of alive) kill(child);
    process.exit(1);
  });
}

function kill({pid}) {
  try {
    process.kill(-pid, 'SIGKILL'); // With the programs that it has started.
  } catch {
    // It has ended meanwhile.
  }
}

/** A folder of a few files with lines of JSON, and a budget of seconds. */
export class Results {
  #end;

  constructor(folder, seconds) {
    mkdirSync(folder, {recursive: true});
    this.folder = path.resolve(folder);
    this.#end = performance.now() + seconds * 1000;
  }

  get secondsLeft() {
    return (this.#end - performance.now()) / 1000;
  }

  file(name) {
    return path.join(this.folder, name);
  }

  add(name, object) {
    appendFileSync(this.file(name), `${JSON.stringify(object)}\n`);
  }

  write(name, object) {
    writeFileSync(this.file(name), `${JSON.stringify(object)}\n`);
  }

  clear(name) {
    rmSync(this.file(name), {force: true});
  }

  log(text) {
    appendFileSync(this.file('log.txt'), `${text}\n`);
  }

  /** For {@link run}: `handle` gets what is JSON, the rest is logged. */
  json(handle) {
    return text => {
      const object = toJson(text);
      if (object === null) this.log(text);
      else handle(object);
    };
  }

  /** Kernels that the tests found not to work here. */
  excluded() {
    return this.read('summary.json').flatMap(({excluded}) => excluded);
  }

  /** Of an earlier run too. */
  read(name) {
    try {
      return readFileSync(this.file(name), 'utf8').trim().split('\n').map(toJson).filter(Boolean);
    } catch {
      return [];
    }
  }
}

function toJson(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null; // The end of a line is missing where a program was killed.
  }
}

/**
 * Runs a program until it ends, has printed nothing for `stallSeconds`, or has run for `seconds`. Each line that it prints
 * goes to `onLine`, errors go to log.txt. Returns its exit code, and in a few words why it did not end well, or "".
 */
export function run(results, [command, ...parameters], options) {
  const {env = {}, seconds, stallSeconds = seconds, onLine = () => {}} = options;
  const limit = Math.min(seconds, results.secondsLeft);
  if (limit <= 0) return Promise.resolve({code: null, problem: 'no time left'});
  return new Promise(resolve => {
    const log = openSync(results.file('log.txt'), 'a');
    const child = spawn(command, parameters, {
      env: {...process.env, ...env},
      stdio: ['ignore', 'pipe', log],
      detached: true,
    });
    const timers = {};
    let problem = '';
    const finish = code => {
      for (const timer of Object.values(timers)) clearTimeout(timer);
      alive.delete(child);
      closeSync(log);
      child.stdout?.destroy();
      child.unref();
      resolve({code, problem});
    };
    const end = reason => {
      if (problem) return;
      problem = reason;
      kill(child);
      timers.dying = setTimeout(() => {
        problem += ', and cannot be ended';
        finish(null);
      }, dying * 1000);
    };
    const watch = () => {
      clearTimeout(timers.stall);
      timers.stall = setTimeout(end, stallSeconds * 1000, `printed nothing for ${stallSeconds} s`);
    };
    child.on('error', error => {
      problem = `does not start: ${error.message}`;
      finish(null);
    });
    if (child.pid === undefined) return;
    alive.add(child);
    timers.whole = setTimeout(end, limit * 1000, `took longer than ${Math.round(limit)} s`);
    watch();
    createInterface({input: child.stdout}).on('line', line => {
      if (!problem) watch();
      onLine(line);
    });
    child.on('close', (code, signal) => {
      if (code !== 0) problem ||= `ended with ${signal ?? `exit code ${code}`}`;
      finish(code);
    });
  });
}

/** For a program that is to leave these out; "overlap" is that kernels start before the ones ahead of them have ended. */
export const leavingOut = excluded => ({
  REPVGG_EXCLUDE: excluded.join(),
  ...(excluded.includes('overlap') && {REPVGG_OVERLAP: 'off'}),
});

/** What a kernel is but for its size: that of "sm90a ping-pong 128x96" is "sm90a ping-pong", which excludes all of them. */
const family = kernel => kernel.replace(/ \d.*$/, '');
/** Of one family, kernels that are tried one by one although others failed: each costs the seconds in which it prints nothing. */
const mostOfFamily = 3;

/**
 * Runs the cases of a program such as repvgg_gpu_tests whose names contain one of `filters`, each to tests.jsonl. A kernel
 * that hangs, crashes or breaks the device ends its process: it goes to `excluded`, and the cases go on without it in
 * another. One that is only wrong goes there for later steps. One that was running when the time was over does not: it
 * need not be to blame, and nobody would measure it any more.
 */
export async function runCases(results, program, filters, {seconds, stallSeconds, excluded}) {
  const end = performance.now() + seconds * 1000;
  const left = () => (end - performance.now()) / 1000;
  const names = [];
  const listing = await run(results, [...program, '--list', ...filters], {
    seconds: stallSeconds,
    onLine: results.json(name => names.push(name)),
  });
  const record = (name, detail) => results.add('tests.jsonl', {name, ok: false, ms: 0, detail});
  if (names.length === 0) record(filters.join(', '), `no cases: ${listing.problem}`);
  let next = 0;
  let problem = '';
  for (let start = 0; next < names.length && start < mostStarts && left() > 0; start++) {
    let running = null;
    let fatal = '';
    const without = new Set(excluded);
    const ended = await run(results, [...program, '--from', names[next], ...filters], {
      env: leavingOut([...without]),
      seconds: left(),
      stallSeconds,
      onLine: results.json(line => {
        if (line.running) running = line.running;
        else if (line.wrong) excluded.add(line.wrong);
        else if (line.fatal) fatal = line.fatal;
        else if (line.name) {
          results.add('tests.jsonl', line);
          next = names.indexOf(line.name) + 1;
          running = null;
        }
      }),
    });
    if (next === names.length) break;
    problem = fatal || ended.problem || 'ended too early';
    if (left() <= 0 || results.secondsLeft <= 0) break;
    if (running && !without.has(running)) {
      excluded.add(running);
      const own = family(running);
      if ([...excluded].filter(kernel => family(kernel) === own).length >= mostOfFamily) excluded.add(own);
      record(`${names[next]}, ${running}`, problem);
    } else {
      record(names[next], problem);
      next++;
    }
  }
  if (next < names.length)
    record(`${names.length - next} cases from "${names[next]}" on`, `not run: ${problem}`);
}

/** Prints the name of the GPU, or why there is none. */
export async function findDevice(results) {
  let detail;
  const command = [process.execPath, path.join(import.meta.dirname, 'networks.mjs'), '--device'];
  const {code, problem} = await run(results, command, {
    seconds: 60,
    onLine: results.json(line => {
      detail = line.detail;
    }),
  });
  console.log(detail ?? `no CUDA device: ${problem}`);
  return code === 0;
}
