import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import test from 'ava';
import {findAddon} from '../../ts/native/load_addon.ts';

test('memory that runs out on the thread of JavaScript has the code of memory that runs out', async t => {
  // Of twice the memory of an image, which the addon copies, something else has a part.
  const image = 3 * 2 ** 30;
  const script = `
    const addon = require(process.argv[1]);
    try {
      addon.decodeJpeg(new Uint8Array(${image}), false, ${image});
    } catch ({code, message}) {
      console.log(JSON.stringify({code, message}));
    }`;
  const limited = ['-c', `ulimit -v ${(2 * image) / 1024}; exec "$@"`, 'bash'];
  const {stdout} = await promisify(execFile)('bash', [
    ...limited,
    process.execPath,
    '-e',
    script,
    findAddon()!,
  ]);
  t.deepEqual(JSON.parse(stdout), {code: 'ERR_OUT_OF_MEMORY', message: 'Not enough memory.'});
});
