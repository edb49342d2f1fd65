import {execFile} from 'node:child_process';
import {join} from 'node:path';
import {promisify} from 'node:util';
import test from 'ava';
import sharp from 'sharp';
import {findAddon} from '../../ts/native/load_addon.ts';
import {temporaryFolder} from '../folder.ts';
import {testWithJpeg} from '../where.ts';

/** What a process with the addon prints that may address so many kilobytes. */
async function inProcess(
  kilobytes: number | 'unlimited',
  script: string,
  ...args: string[]
): Promise<string> {
  const limited = ['-c', `ulimit -v ${kilobytes}; exec "$@"`, 'bash'];
  const program = `
    const [addon, argument] = [require(process.argv[1]), process.argv[2]];
    const print = value => console.log(JSON.stringify(value));
    const printError = ({code, message}) => print({code, message});
    ${script}`;
  const node = [process.execPath, '-e', program, findAddon()!, ...args];
  return (await promisify(execFile)('bash', [...limited, ...node])).stdout;
}

const refused = {code: 'ERR_OUT_OF_MEMORY', message: 'Not enough memory.'};

test('memory that runs out on the thread of JavaScript has the code of memory that runs out', async t => {
  // Of twice the memory of an image, which the addon copies, something else has a part.
  const image = 3 * 2 ** 30;
  const script = `
    try {
      addon.decodeJpeg(new Uint8Array(${image}), false, ${image});
    } catch (error) {
      printError(error);
    }`;
  t.deepEqual(JSON.parse(await inProcess((2 * image) / 1024, script)), refused);
});

test('results that there is no memory for are refused, and the process goes on', async t => {
  const script = `
    const block = {inChannels: 3, outChannels: 4, stride: 1, groups: 1, identity: false, squeezeChannels: 0};
    const [numClasses, count] = [500_000, 4096];
    const network = new addon.Network(
      {form: 'deploy', squeezeExcite: null, blocks: [block], numClasses, height: 1, width: 1, mean: [0, 0, 0], std: [1, 1, 1]},
      {backend: 'cpu', precision: 'fp32', batchSize: 1, threads: 1},
    );
    const batch = {pixels: new Uint8Array(3 * count), count};
    const calls = [
      () => network.run(batch, 'logits', new Uint8Array(1)),
      () => network.runTopK(batch, numClasses, new Uint8Array(1)),
    ];
    for (const call of calls) {
      try {
        call();
      } catch (error) {
        printError(error);
      }
    }`;
  const printed = await inProcess(6 * 2 ** 20, script); // The results have 8 GB.
  t.deepEqual(
    printed
      .trim()
      .split('\n')
      .map(line => JSON.parse(line)),
    [refused, refused],
  );
});

testWithJpeg('a decoded image that there is no memory for is refused, and the process goes on', async t => {
  const side = 12_000;
  const path = join(await temporaryFolder(t), 'large.jpg');
  const create = {width: side, height: side, channels: 3, background: 'grey'} as const;
  await sharp({create}).jpeg().toFile(path);
  // Decoding starts its thread before the size is known.
  const size = `
    addon.decodeJpeg('', false, 0).then(() =>
      print(Number(/^VmSize:\\s*(\\d+)/m.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1])));`;
  const kilobytes = JSON.parse(await inProcess('unlimited', size));
  // There is room for what the thread decodes, but not for a second time as much, that JavaScript gets.
  const limit = Math.round(kilobytes + (1.5 * side ** 2 * 3) / 1024);
  const decode = `addon.decodeJpeg(argument, false, 2 ** 29).then(() => print('decoded'), printError);`;
  t.deepEqual(JSON.parse(await inProcess(limit, decode, path)), refused);
});
