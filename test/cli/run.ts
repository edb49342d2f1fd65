import {type ChildProcess, spawn} from 'node:child_process';
import {closeSync, openSync, readdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

export {temporaryFolder} from '../folder.ts';

const sources = fileURLToPath(new URL('../../ts', import.meta.url));
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
let isBuilt = false;

export interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunSettings {
  cwd?: string;
  env?: Record<string, string>;
  /** What it reads from standard input, or 'open' for the caller to write to it. Default: nothing. */
  stdin?: string;
  /** The file that standard input is. */
  stdinFile?: string;
  /** Kibibytes that a file may have: to write more fails, as on a full disk. */
  maxFileKib?: number;
  /** Milliseconds. Default: less than ava's, so that none is left behind. */
  timeout?: number;
}

/** dist/ is what users get, and starts in a third of the time that its sources do. */
function needBuilt(): void {
  if (isBuilt) return;
  const built = statSync(main, {throwIfNoEntry: false})?.mtimeMs ?? 0;
  const newer = readdirSync(sources, {recursive: true, encoding: 'utf8'}).find(
    name => name.endsWith('.ts') && statSync(join(sources, name)).mtimeMs > built,
  );
  if (newer !== undefined) throw new Error(`dist/ is older than ts/${newer}: "npm run build:ts" first`);
  isBuilt = true;
}

/** What runs `repvgg`, as it was built. */
export function commandOf(args: readonly string[]): string[] {
  needBuilt();
  return [process.execPath, main, ...args];
}

/** Starts `repvgg` in a process of its own. */
export function start(args: readonly string[], settings: RunSettings = {}): ChildProcess {
  const {cwd, env, stdin, stdinFile, maxFileKib, timeout = 60_000} = settings;
  const command = commandOf(args);
  const limited = maxFileKib
    ? ['bash', '-c', `ulimit -f ${maxFileKib}; exec "$@"`, 'bash', ...command]
    : command;
  const input = stdinFile === undefined ? undefined : openSync(stdinFile, 'r');
  const child = spawn(limited[0]!, limited.slice(1), {
    stdio: [input ?? (stdin === undefined ? 'ignore' : 'pipe'), 'pipe', 'pipe'],
    timeout,
    env: {...process.env, ...env},
    ...(cwd !== undefined && {cwd}),
  });
  if (input !== undefined) closeSync(input); // The child has its own.
  if (stdin !== undefined && stdin !== 'open') child.stdin!.end(stdin);
  return child;
}

/** Runs `repvgg` to its end. */
export function repvgg(args: readonly string[], settings: RunSettings = {}): Promise<Output> {
  return finish(start(args, settings));
}

export async function finish(child: ChildProcess): Promise<Output> {
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    new Promise<number | null>((resolve, reject) => child.once('close', resolve).once('error', reject)),
  ]);
  return {code, stdout, stderr};
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** The JSON values of the lines of standard output. */
export function jsonLines<T>({stdout}: Output): T[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as T);
}
