import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {createInterface, type Interface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {blockShapes} from '../architecture.ts';
import {onAbort} from '../support/cancellation.ts';
import {differenceOf} from '../support/difference.ts';
import type {Contestant} from './measure.ts';
import type {NetworkCase} from './network.ts';
import type {Peer} from './peer.ts';
import {engineInput, writeCheckpoint} from './stages.ts';

/** A Python process that runs networks in PyTorch. */
export interface PyTorch {
  version: string;
  peers: Peer[];
  gemmGflops(): Promise<number | null>;
  close(): Promise<void>;
}

export type Mode = 'eager' | 'compile' | 'graph';

const script = fileURLToPath(new URL('../../bench/peers/pytorch.py', import.meta.url));
const precisionNames = {fp32: 'float32', tf32: 'float32', bf16: 'bfloat16', fp16: 'float16'} as const;
const gemmSeconds = 0.5;
const exitMilliseconds = 5000;
/** Limits for importing PyTorch and for any other answer: compiling a network takes minutes on a GPU. */
const patience = {helloSeconds: 60, answerSeconds: 600};

/**
 * Starts the Python named by REPVGG_PYTHON, by default python3. Returns why PyTorch cannot be used, if so. `modes` are how networks run:
 * eagerly, compiled, or on a GPU as a CUDA graph.
 */
export async function openPyTorch(
  modes: readonly Mode[],
  device: 'cpu' | 'cuda',
  folder: string,
  threads: number,
  stop: AbortSignal,
  {helloSeconds, answerSeconds}: typeof patience = patience,
): Promise<PyTorch | string> {
  const python = process.env.REPVGG_PYTHON || 'python3';
  // Threads that do not spin while they wait leave the cores to the other contestants.
  const env = {...process.env, OMP_WAIT_POLICY: 'passive', OMP_NUM_THREADS: String(threads)};
  const child = spawn(python, [script, String(threads)], {env, stdio: ['pipe', 'pipe', 'ignore']});
  try {
    await once(child, 'spawn');
  } catch (error) {
    return `${python} does not start (${(error as Error).message}); set REPVGG_PYTHON to use another Python.`;
  }
  const talk = new Conversation(child, answerSeconds, stop);
  const hello = await talk.reply(helloSeconds);
  if (typeof hello.version !== 'string') {
    await talk.end();
    return `${python} has no PyTorch (${hello.error ?? 'it reported no version'}); set REPVGG_PYTHON to use another Python.`;
  }
  if (device === 'cuda' && hello.cuda !== true) {
    await talk.end();
    return `the PyTorch of ${python} sees no GPU.`;
  }
  const own = modes.filter(mode => mode !== 'graph' || device === 'cuda');
  const peers = own.flatMap(mode =>
    (device === 'cuda' ? (['fp16', 'bf16', 'tf32', 'fp32'] as const) : (['fp32', 'bf16'] as const)).map(
      precision => pyTorchPeer(talk, mode, precision, device, folder),
    ),
  );
  return {
    version: hello.version,
    peers,
    gemmGflops: async () =>
      ((await talk.ask({op: 'gemm', seconds: gemmSeconds})).gflops as number | undefined) ?? null,
    close: () => talk.end(),
  };
}

function pyTorchPeer(
  talk: Conversation,
  mode: Mode,
  precision: keyof typeof precisionNames,
  device: string,
  folder: string,
): Peer {
  return {
    runner: `pytorch-${mode}`,
    precision,
    async open(network, ours) {
      const request = await writeRequest(network, folder);
      const id = `${mode} ${precision}`;
      const opened = await talk.ask({
        op: 'open',
        id,
        mode,
        device,
        precision: precisionNames[precision],
        tf32: precision === 'tf32',
        ...request,
      });
      await rm(request.checkpoint);
      await rm(request.pixels);
      if (typeof opened.logits !== 'string') return String(opened.error);
      const bytes = Uint8Array.from(Buffer.from(opened.logits, 'base64'));
      const contestant: Contestant = {
        async sample(seconds) {
          const {rate, error} = await talk.ask({op: 'sample', id, seconds});
          if (typeof rate !== 'number') throw new Error(`PyTorch failed: ${error}`);
          return rate;
        },
        async latencies(seconds) {
          const {times, error} = await talk.ask({op: 'latency', id, seconds});
          if (!Array.isArray(times)) throw new Error(`PyTorch failed: ${error}`);
          return times as number[];
        },
        close: async () => {
          await talk.ask({op: 'close', id});
        },
      };
      return {
        contestant,
        outputError: differenceOf(new Float32Array(bytes.buffer), await ours.output()).relative,
      };
    },
  };
}

/** Writes the files that Python needs, and returns the description of the network and its input. */
async function writeRequest({model, batch}: NetworkCase, folder: string) {
  const {architecture, preprocessing} = model;
  const {crop, mean, std} = preprocessing;
  const checkpoint = await writeCheckpoint(model, folder);
  const pixels = join(folder, 'pixels.raw');
  await writeFile(pixels, engineInput({model, batch}).pixels);
  const gateFirst = architecture.squeezeExcite?.position === 'before-relu';
  return {checkpoint, pixels, batch, size: crop, mean, std, gateFirst, blocks: blockShapes(architecture)};
}

type Reply = Record<string, unknown>;

/** Sends requests to a process and reads its replies, one at a time. */
class Conversation {
  readonly #child: ChildProcess;
  readonly #answerSeconds: number;
  readonly #reader: Interface;
  readonly #lines: AsyncIterator<string>;
  readonly #forget: () => void;
  #end = 'the process ended';

  constructor(child: ChildProcess, answerSeconds: number, stop: AbortSignal) {
    this.#child = child;
    this.#answerSeconds = answerSeconds;
    child.stdin!.on('error', () => {}); // The process has ended, which reply() reports.
    this.#reader = createInterface({input: child.stdout!});
    this.#lines = this.#reader[Symbol.asyncIterator]();
    const interrupt = (): void => this.#kill('the run was interrupted');
    if (stop.aborted) interrupt();
    this.#forget = onAbort(stop, interrupt);
  }

  async ask(question: object): Promise<Reply> {
    this.#child.stdin!.write(`${JSON.stringify(question)}\n`);
    return this.reply(this.#answerSeconds);
  }

  async reply(seconds: number): Promise<Reply> {
    const timer = setTimeout(() => this.#kill(`it did not answer within ${seconds} seconds`), 1000 * seconds);
    const {value, done} = await this.#lines.next();
    clearTimeout(timer);
    if (done) return {error: this.#end};
    try {
      return Object(JSON.parse(value));
    } catch {
      return {error: `it said ${JSON.stringify(value)}`};
    }
  }

  /** Does not wait for its output to end, because child processes may keep it open. */
  #kill(why: string): void {
    this.#end = why;
    this.#child.kill('SIGKILL');
    this.#child.stdout!.destroy();
    this.#reader.close();
  }

  /** Closes the input, which ends the process; kills it if it hangs. */
  async end(): Promise<void> {
    this.#forget();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), exitMilliseconds);
    this.#child.stdin!.end();
    await exit;
    clearTimeout(timer);
  }
}
