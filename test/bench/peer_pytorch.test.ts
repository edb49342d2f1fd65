import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {defineArchitecture} from '../../ts/architecture.ts';
import {openPyTorch, type PyTorch} from '../../ts/bench/peer_pytorch.ts';
import {chooseDevice} from '../../ts/device.ts';
import {temporaryFolder} from '../folder.ts';

test('a Python that does not answer is given up, even if what it has started goes on', async t => {
  const folder = await temporaryFolder(t);
  const python = join(folder, 'python');
  process.env.REPVGG_PYTHON = python;
  const {signal} = new AbortController();
  const open = (helloSeconds: number) =>
    openPyTorch(['eager'], 'cpu', folder, 1, signal, {helloSeconds, answerSeconds: 0.1});
  await writeFile(python, '#!/bin/sh\nsleep 20\n', {mode: 0o755});
  t.regex(String(await open(0.1)), /python has no PyTorch \(it did not answer within 0\.1 seconds\);/);
  await writeFile(python, `#!/bin/sh\necho '{"version": "9"}'\nsleep 20\n`);
  const opened = (await open(20)) as PyTorch;
  const architecture = defineArchitecture({numBlocks: [1, 1, 1, 1], widthMultiplier: [0.1, 0.1, 0.1, 0.1]});
  const network = {
    ...chooseDevice('cpu', 'fp32'),
    architecture,
    form: 'deploy',
    batch: 1,
    threads: 1,
  } as const;
  t.is(await opened.peers[0]!.open(network, null as never), 'it did not answer within 0.1 seconds');
  t.is(await opened.gemmGflops(), null);
  await opened.close();
});
