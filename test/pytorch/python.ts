/**
 * What is checked by Python's own libraries. It needs Python with the packages of test/reference/README.md: run as
 * `npm run test:pytorch`, with REPVGG_PYTHON naming the interpreter if it is not python3.
 */
import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import {testWhere} from '../where.ts';

const python = process.env.REPVGG_PYTHON;
const timeout = 30 * 60_000;

export function testWithPython(title: string, run: (t: ExecutionContext) => Promise<void>): void {
  testWhere(python !== undefined, 'needs PyTorch, see test/reference/README.md')(title, async t => {
    t.timeout(timeout);
    await run(t);
  });
}

/** Runs a script of test/reference, which prints one JSON value. */
export async function runPython<Result>(script: string, ...args: string[]): Promise<Result> {
  const file = fileURLToPath(new URL(`../reference/${script}`, import.meta.url));
  const {stdout} = await promisify(execFile)(python!, [file, ...args], {maxBuffer: 2 ** 28, timeout});
  return JSON.parse(stdout) as Result;
}
