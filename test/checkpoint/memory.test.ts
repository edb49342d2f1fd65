/** How much memory a checkpoint takes on its way: little more than what comes of it. */
import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {writeSafetensors} from '../../ts/checkpoint/write_safetensors.ts';
import {smallNetwork, stateDict} from '../checkpoints.ts';
import {testOnLinux} from '../where.ts';
import {Folder} from './build.ts';

const script = fileURLToPath(new URL('memory.mts', import.meta.url));
const folder = new Folder();
test.after.always(() => folder.remove());

/** Twelve kernels of 9.4 MB are most of it. */
const large = {...smallNetwork, numBlocks: [1, 1, 13, 1], widths: [8, 8, 8, 512, 8], groups: 1} as const;

for (const [name, write] of Object.entries({'x.pth': writePyTorch, 'x.safetensors': writeSafetensors})) {
  testOnLinux.serial(
    `fusing and loading ${name} takes little more memory than the fused weights`,
    async t => {
      const tensors = stateDict(large, 'official', 'train').filter(({dtype}) => dtype === 'f32');
      const path = await folder.path(name);
      const toWrite = tensors.map(({name, shape, read}) => {
        const values = read as () => Promise<Float32Array>;
        return {name, shape, values};
      });
      await write(path, toWrite);
      const weights = 12 * 512 * 512 * 9 * 4;
      // A device has them packed, while one block is packed and the next one read.
      for (const [how, more] of [
        ['keep', 40],
        ['load', 60],
      ] as const) {
        const {stdout} = await promisify(execFile)(process.execPath, ['--import=tsx', script, path, how]);
        const peak = Number(stdout);
        t.true(peak > weights);
        t.true(peak < weights + more * 2 ** 20, `${how}: ${peak - weights} bytes more`);
      }
    },
  );
}
