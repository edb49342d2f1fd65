// How long it takes from a training checkpoint to fused weights, and in how much memory:
//
//   npm run build:ts && node scripts/load_speed.mjs CHECKPOINT [--rounds 5]
//
// In one run, round after round: a plain read of the file, one pass over it in memory, our load from each container, and
// where REPVGG_PYTHON names a Python with torch and safetensors, what they do with the same files: torch.load and the
// fusion of the official convert.py in PyTorch, and safetensors' load_file with the same fusion. The files are in the page
// cache. Each time is the least of its rounds. Peaks are of processes of their own (on Linux).
import {execFile, execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {mkdtemp, open, rm, stat} from 'node:fs/promises';
import {availableParallelism, cpus, loadavg, tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs, promisify} from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const {openCheckpoint} = await import(join(dist, 'checkpoint/open.js'));
const {networkFromCheckpoint} = await import(join(dist, 'checkpoint/network.js'));
const {convertCheckpoint} = await import(join(dist, 'convert.js'));

const {values, positionals} = parseArgs({
  allowPositionals: true,
  options: {rounds: {type: 'string', default: '5'}, peak: {type: 'string'}},
});
const [source] = positionals;
if (source === undefined) throw new Error('usage: node scripts/load_speed.mjs CHECKPOINT [--rounds 5]');
if (values.peak !== undefined) await printPeak(source, values.peak);
else await compare(source, Number(values.rounds));

async function compare(checkpoint, rounds) {
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-load-'));
  try {
    const files = {};
    for (const name of ['train.pth', 'train.safetensors']) {
      files[name] = join(folder, name);
      await convertCheckpoint(checkpoint, files[name], {form: 'train'});
    }
    const {size} = await stat(files['train.pth']);
    const memory = {from: Buffer.alloc(2 ** 28, 1), to: Buffer.alloc(2 ** 28, 2)};
    const times = {
      'plain read': () => plainRead(files['train.pth']),
      'one pass in memory': () => onePass(memory, size),
      'ours, as given': () => fuse(checkpoint),
      'ours, PyTorch zip': () => fuse(files['train.pth']),
      'ours, safetensors': () => fuse(files['train.safetensors']),
    };
    const least = {};
    const note = (name, milliseconds) => {
      least[name] = Math.min(least[name] ?? Infinity, milliseconds);
    };
    for (let round = 0; round < rounds; round++) {
      for (const [name, run] of Object.entries(times)) {
        const start = performance.now();
        await run();
        note(name, performance.now() - start);
      }
      for (const [name, seconds] of Object.entries(python(Object.values(files)))) note(name, 1000 * seconds);
    }
    const bound = 1.5 * (least['plain read'] + least['one pass in memory']);
    console.log(
      `${cpus()[0].model}, ${availableParallelism()} cores, load average ${loadavg()[0].toFixed(1)}`,
    );
    console.log(`${checkpoint}: ${(size / 1e6).toFixed(0)} MB\n`);
    for (const [name, milliseconds] of Object.entries(least)) {
      const ratio = name.startsWith('ours') ? `  ${(milliseconds / bound).toFixed(2)} of the bound` : '';
      console.log(`${name.padEnd(40)} ${milliseconds.toFixed(0).padStart(7)} ms${ratio}`);
    }
    console.log(`${'bound: 1.5 x (read + pass)'.padEnd(40)} ${bound.toFixed(0).padStart(7)} ms\n`);
    const deploy = await deployBytes(checkpoint);
    console.log(`${'deploy weights'.padEnd(40)} ${(deploy / 1e6).toFixed(0).padStart(7)} MB`);
    for (const what of ['keep', 'convert', 'load']) {
      const args = [fileURLToPath(import.meta.url), checkpoint, '--peak', what];
      const {stdout} = await promisify(execFile)(process.execPath, args);
      const [peak, idle] = stdout.split(' ').map(Number);
      const names = {
        keep: 'peak, all weights kept',
        convert: 'peak, convert',
        load: 'peak, RepVGG.load on the CPU',
      };
      const shown = `${(peak / 1e6).toFixed(0).padStart(7)} MB, of which ${(idle / 1e6).toFixed(0)} MB are Node's own`;
      console.log(`${names[what].padEnd(40)} ${shown}`);
    }
  } finally {
    await rm(folder, {recursive: true});
  }
}

async function plainRead(path) {
  const file = await open(path);
  const buffer = Buffer.allocUnsafeSlow(2 ** 22);
  while ((await file.read(buffer, 0, buffer.length, null)).bytesRead > 0);
  await file.close();
}

/** Copies as many bytes by memcpy, from memory to memory that has been touched before. */
function onePass({from, to}, bytes) {
  for (let left = bytes; left > 0; left -= from.length) from.copy(to, 0, 0, Math.min(left, from.length));
}

async function fuse(path) {
  const checkpoint = await openCheckpoint(path);
  const network = networkFromCheckpoint(checkpoint);
  const weights = [];
  for await (const {weight, bias} of network.blocks('deploy')) weights.push(weight, bias);
  weights.push(...Object.values((await network.linear()) ?? {}));
  await checkpoint.close();
  return weights;
}

async function deployBytes(path) {
  return (await fuse(path)).reduce((sum, {byteLength}) => sum + byteLength, 0);
}

/** Prints the most memory that this process has had, and what it had before. */
async function printPeak(path, what) {
  const idle = process.memoryUsage.rss();
  if (what === 'keep') await fuse(path);
  if (what === 'convert') await convertCheckpoint(path, join(tmpdir(), `repvgg-peak-${process.pid}.pth`));
  await rm(join(tmpdir(), `repvgg-peak-${process.pid}.pth`), {force: true});
  if (what === 'load')
    await (await import(join(dist, 'index.js'))).RepVGG.load(path, {device: 'cpu', batchSize: 1});
  // Not process.resourceUsage(): its maximum is that of the parent too.
  const [, peak] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  console.log(peak * 1024, idle);
  process.exit();
}

function python(files) {
  const interpreter = process.env.REPVGG_PYTHON;
  if (!interpreter) return {};
  return JSON.parse(
    execFileSync(interpreter, [join(root, 'scripts/load_speed.py'), ...files], {encoding: 'utf8'}),
  );
}
