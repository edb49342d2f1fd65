// Builds the kernel emulator and runs its tests: every CUDA kernel on the CPU, with every memory access checked
// (test/emulator/emulator.h). No GPU and no CUDA toolkit is needed.
import {execFileSync, spawn} from 'node:child_process';
import path from 'node:path';
import {createInterface} from 'node:readline';
import test from 'ava';
import {buildEmulator, emulatorFolder} from './emulated_build.ts';

interface Outcome {
  name: string;
  ok: boolean;
  ms: number;
  detail: string;
}

buildEmulator();

/** Tests that need a GPU have layers that are large for the emulator. */
const isWhole = process.env.REPVGG_EMULATOR === 'whole';
// In two processes, so that two cores are busy until the end.
addCases('emulator_tests', ['--share', '0/2']);
addCases('emulator_tests', ['--share', '1/2']);
addCases('emulated_gpu_tests', [isWhole ? 'small layers' : 'small layers: fp16, 32 to 64', 'head: ']);

/** A test for each case that a program runs with these arguments. */
function addCases(name: string, options: string[]): void {
  const program = path.join(emulatorFolder, name);
  const cases = execFileSync(program, ['--list', ...options], {encoding: 'utf8'})
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as string);
  const waiting = new Map<string, (outcome: Outcome) => void>();
  const outcomes = new Map(
    cases.map(name => [name, new Promise<Outcome>(resolve => waiting.set(name, resolve))] as const),
  );
  const child = spawn(program, options, {stdio: ['ignore', 'pipe', 'inherit']});
  createInterface(child.stdout).on('line', line => {
    const outcome = JSON.parse(line) as Outcome;
    waiting.get(outcome.name)?.(outcome);
  });
  child.on('exit', (code, signal) => {
    for (const [name, resolve] of waiting) {
      resolve({
        name,
        ok: false,
        ms: 0,
        detail: `The emulator ended with ${signal ?? code} before this case.`,
      });
    }
  });
  for (const one of cases) {
    test(`${name}: ${one}`, async t => {
      t.timeout(600_000);
      const outcome = await outcomes.get(one);
      t.true(outcome?.ok, outcome?.detail);
      t.log(`${outcome?.ms} ms${outcome?.detail ? `, ${outcome.detail}` : ''}`);
    });
  }
}
