// Builds the kernel emulator and runs its tests: every CUDA kernel on the CPU, with every memory access checked
// (test/emulator/emulator.h). No GPU and no CUDA toolkit is needed.
import {execFileSync, spawn} from 'node:child_process';
import path from 'node:path';
import {createInterface} from 'node:readline';
import test from 'ava';

interface Outcome {
  name: string;
  ok: boolean;
  ms: number;
  detail: string;
}

const source = path.join(import.meta.dirname, 'emulator');
const build = path.join(import.meta.dirname, '..', 'build', 'emulator');
const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit']});

run('cmake', '-S', source, '-B', build);
run('cmake', '--build', build, '--parallel', '2');
const program = path.join(build, 'emulator_tests');
const names = run(program, '--list')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line) as string);

const waiting = new Map<string, (outcome: Outcome) => void>();
const outcomes = new Map(
  names.map(name => [name, new Promise<Outcome>(resolve => waiting.set(name, resolve))] as const),
);
const child = spawn(program, {stdio: ['ignore', 'pipe', 'inherit']});
createInterface(child.stdout).on('line', line => {
  const outcome = JSON.parse(line) as Outcome;
  waiting.get(outcome.name)?.(outcome);
});
child.on('exit', (code, signal) => {
  for (const [name, resolve] of waiting) {
    resolve({name, ok: false, ms: 0, detail: `The emulator ended with ${signal ?? code} before this case.`});
  }
});

for (const name of names) {
  test(name, async t => {
    t.timeout(600_000);
    const outcome = await outcomes.get(name);
    t.true(outcome?.ok, outcome?.detail);
    t.log(`${outcome?.ms} ms${outcome?.detail ? `, ${outcome.detail}` : ''}`);
  });
}
