import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {defineArchitecture} from '../../ts/architecture.ts';
import {variant} from '../../ts/bench/models.ts';
import {openPyTorch, type PyTorch} from '../../ts/bench/peer_pytorch.ts';
import {chooseDevice} from '../../ts/native/device.ts';
import {temporaryFolder} from '../folder.ts';

const tiny = defineArchitecture({numBlocks: [1, 1, 1, 1], widthMultiplier: [0.1, 0.1, 0.1, 0.1]});
const model = {...variant('A0'), architecture: tiny};
const network = {...chooseDevice('cpu', 'fp32'), model, form: 'deploy', batch: 1, threads: 1} as const;

/** Opens a shell script in place of Python, or none. Serial tests only: it is named by the environment. */
async function openPython(
  t: ExecutionContext,
  script: string | null,
  seconds = 60,
): Promise<PyTorch | string> {
  const folder = await temporaryFolder(t);
  const python = join(folder, 'python');
  process.env.REPVGG_PYTHON = python;
  if (script !== null) await writeFile(python, `#!/bin/sh\n${script}\n`, {mode: 0o755});
  const {signal} = new AbortController();
  return openPyTorch(['eager'], 'cpu', folder, 1, signal, {helloSeconds: seconds, answerSeconds: 0.1});
}

test.serial('what is no Python with PyTorch says why', async t => {
  for (const [script, why] of [
    [null, /python does not start \(.*ENOENT\); set REPVGG_PYTHON to use another Python\.$/],
    ['echo Usage: sh', /python has no PyTorch \(it said "Usage: sh"\);/],
    ['echo null', /python has no PyTorch \(it reported no version\);/],
    ['exit 1', /python has no PyTorch \(the process ended\);/],
  ] as const) {
    t.regex(String(await openPython(t, script)), why);
  }
});

test.serial('a Python that ends is not asked for ever', async t => {
  const opened = (await openPython(t, `echo '{"version": "9"}'`)) as PyTorch;
  t.is(await opened.peers[0]!.open(network, null as never), 'the process ended');
  await opened.close();
});

test.serial('a Python that does not answer is given up, even if what it has started goes on', async t => {
  const silent = await openPython(t, 'sleep 20', 0.1);
  t.regex(String(silent), /python has no PyTorch \(it did not answer within 0\.1 seconds\);/);
  const opened = (await openPython(t, `echo '{"version": "9"}'\nsleep 20`)) as PyTorch;
  t.is(await opened.peers[0]!.open(network, null as never), 'it did not answer within 0.1 seconds');
  t.is(await opened.gemmGflops(), null);
  await opened.close();
});
