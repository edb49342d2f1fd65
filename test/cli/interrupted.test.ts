/** Ctrl-C while a large file is written. */
import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import test from 'ava';
import {architectureByName} from '../../ts/architecture.ts';
import {dict, pickle, tensor, torchZip} from '../checkpoint/build.ts';
import {stateDict} from '../checkpoints.ts';
import {finish, start, temporaryFolder} from './run.ts';

/** A network whose fused form takes 100 MB, in a small file: all tensors begin with the same numbers. */
function largeNetwork(): Buffer {
  const tensors = stateDict(architectureByName('RepVGG-A2'), 'official', 'train');
  const sizes = tensors.map(({shape}) => shape.reduce((product, size) => product * size, 1));
  const length = Math.max(...sizes);
  const floats = new Float32Array(length).fill(1 / 1024);
  const weights = tensors.filter(({dtype}) => dtype === 'f32');
  const state = dict(Object.fromEntries(weights.map(({name, shape}) => [name, tensor({length, shape})])));
  return torchZip(pickle(state), {0: Buffer.from(floats.buffer)});
}

for (const [command, file] of [
  ['convert', 'out.pth'],
  ['convert', 'out.safetensors'],
  ['export', 'out.onnx'],
] as const) {
  test(`a signal during ${command} to ${file} leaves the old file, and nothing else`, async t => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, 'in.pth'), largeNetwork());
    await writeFile(join(folder, file), 'old');
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const child = start([command, 'in.pth', file], {cwd: folder});
      const done = finish(child);
      while (!(await readdir(folder)).some(name => name.endsWith('.tmp')) && child.exitCode === null)
        await sleep(2);
      child.kill(signal);
      t.deepEqual(await done, {code, stdout: '', stderr: ''}, signal);
      t.deepEqual((await readdir(folder)).toSorted(), ['in.pth', file]);
      t.is(await readFile(join(folder, file), 'utf8'), 'old');
    }
  });
}
