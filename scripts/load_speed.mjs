// Measures the time and memory from a training checkpoint to fused weights:
//
//   npm run build:ts && node scripts/load_speed.mjs CHECKPOINT [--rounds 9]
//
// Each round runs a plain read of the file, one pass over it in memory and our load from each container. If REPVGG_PYTHON names a Python
// with torch and safetensors, it also runs theirs on the same files: torch.load with the fusion of the official convert.py in PyTorch, and
// load_file of safetensors with the same fusion. The files are in the page cache, and our process has loaded before.
//
//   fused            each block is read, checked and fused, as RepVGG.load does for devices that take all kernels of a block, into reused
//                    memory
//   fused and kept   all blocks in new memory, as PyTorch has them at the end
//   part             parts of the work: on one core with bytes in its cache; allocating, writing and freeing memory
//   on the CPU       RepVGG.load(..., {device: 'cpu', winograd: 'off'}), which packs weights for the CPU's kernels while fusing
//
// Before each measurement, as much memory as it needs is allocated, written and freed: a virtual machine may have returned memory that was
// idle for two seconds to its host, and getting back a gigabyte can take seconds.
//
// Times are medians over the rounds, and ratios are medians of the ratios within a round, because the speed of a machine varies. The CPU
// time of all threads is meaningful even on a busy machine. Peaks are measured in separate processes (on Linux).
import {execFile, execFileSync} from 'node:child_process';
import {readFileSync, rmSync} from 'node:fs';
import {mkdtemp, open, rm, stat} from 'node:fs/promises';
import {availableParallelism, cpus, loadavg, tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs, promisify} from 'node:util';
import {networkOf} from '../dist/checkpoint/network.js';
import {openCheckpoint} from '../dist/checkpoint/open.js';
import {checkpointStructure} from '../dist/checkpoint/structure.js';
import {convertCheckpoint} from '../dist/convert.js';
import {RepVGG} from '../dist/index.js';
import {NativeFusion} from '../dist/loading/native_fusion.js';
import {native} from '../dist/native/addon.js';

const root = fileURLToPath(new URL('..', import.meta.url));

const {values, positionals} = parseArgs({
  allowPositionals: true,
  options: {rounds: {type: 'string', default: '9'}, peak: {type: 'string'}},
});
const peaks = {
  keep: 'fused, all weights kept',
  convert: 'convert',
  'load off 1': 'RepVGG.load, no Winograd',
  'load auto 1': 'RepVGG.load, batch size 1',
  'load auto 32': 'RepVGG.load, batch size 32',
};
process.stdout.on('error', error => {
  if (error.code === 'EPIPE') process.exit(); // The reader has gone, as with `| head`.
  throw error;
});
const [source] = positionals;
if (source === undefined) throw new Error('usage: node scripts/load_speed.mjs CHECKPOINT [--rounds 9]');
if (values.peak !== undefined) await printPeak(source, values.peak);
else await compare(source, Number(values.rounds));

async function compare(checkpoint, rounds) {
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-load-'));
  process.on('exit', () => rmSync(folder, {recursive: true})); // Also after EPIPE.
  const files = {};
  for (const name of ['train.pth', 'train.safetensors']) {
    files[name] = join(folder, name);
    await convertCheckpoint(checkpoint, files[name], {form: 'train'});
  }
  const {size} = await stat(files['train.pth']);
  const deploy = await deployBytes(checkpoint);
  const memory = {from: Buffer.alloc(2 ** 28, 1), to: Buffer.alloc(2 ** 28, 2)};
  const times = {
    'plain read': () => plainRead(files['train.pth']),
    'one pass in memory': () => onePass(memory, size),
    'safetensors, fused': () => fuse(files['train.safetensors'], false),
    'safetensors, fused and kept': () => fuse(files['train.safetensors']),
    'safetensors, on the CPU': () => load(files['train.safetensors']),
    'PyTorch zip, fused': () => fuse(files['train.pth'], false),
    'PyTorch zip, fused and kept': () => fuse(files['train.pth']),
    'PyTorch zip, on the CPU': () => load(files['train.pth']),
    'as given, fused': () => fuse(checkpoint, false),
    'part: checksum': () => checksumInCache(size),
    'part: fusion': () => fuseInCache(deploy),
    'part: new memory': () => haveAtHand(deploy),
  };
  const rows = [];
  const cpu = Object.fromEntries(Object.keys(times).map(name => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const row = {};
    for (const [name, run] of Object.entries(times)) {
      haveAtHand(deploy + 2 ** 28);
      const start = performance.now();
      const used = process.cpuUsage();
      const model = await run();
      row[name] = performance.now() - start;
      const {user, system} = process.cpuUsage(used);
      cpu[name].push((user + system) / 1000);
      await model?.dispose?.();
      if (Array.isArray(model)) for (const array of model) native().release(array);
    }
    row['bound: 1.5 x (read + pass)'] = 1.5 * (row['plain read'] + row['one pass in memory']);
    for (const [name, seconds] of Object.entries(python(Object.values(files)))) row[name] = 1000 * seconds;
    rows.push(row);
  }
  console.log(`${cpus()[0].model}, ${availableParallelism()} cores, load average ${loadavg()[0].toFixed(1)}`);
  console.log(`${checkpoint}: ${(size / 1e6).toFixed(0)} MB, ${rounds} rounds\n`);
  for (const name of Object.keys(rows[0])) {
    const milliseconds = median(rows.map(row => row[name]));
    const ratio = median(rows.map(row => row[name] / row['bound: 1.5 x (read + pass)']));
    const shown = `${milliseconds.toFixed(0).padStart(7)} ms  ${ratio.toFixed(2)} of the bound`;
    const busy = cpu[name] ? `  ${median(cpu[name]).toFixed(0).padStart(5)} ms of CPU time` : '';
    console.log(`${name.padEnd(40)} ${shown}${busy}`);
  }
  console.log(`${'deploy weights'.padEnd(40)} ${(deploy / 1e6).toFixed(0).padStart(7)} MB`);
  for (const [what, name] of Object.entries(peaks)) {
    const args = ['--expose-gc', fileURLToPath(import.meta.url), checkpoint, '--peak', what];
    const {stdout} = await promisify(execFile)(process.execPath, args);
    const [idle, peak, after] = stdout.split(' ').map(bytes => `${(bytes / 1e6).toFixed(0)} MB`);
    console.log(`${name.padEnd(40)} ${peak.padStart(10)} at most, ${after} at the end, ${idle} before`);
  }
}

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

async function plainRead(path) {
  const file = await open(path);
  const buffer = Buffer.allocUnsafeSlow(2 ** 22);
  while ((await file.read(buffer, 0, buffer.length, null)).bytesRead > 0);
  await file.close();
}

/** Copies `bytes` bytes between buffers that have been touched before. */
function onePass({from, to}, bytes) {
  for (let left = bytes; left > 0; left -= from.length) from.copy(to, 0, 0, Math.min(left, from.length));
}

/** Checksums `bytes` bytes, in repeated passes over 256 kB. */
function checksumInCache(bytes) {
  const part = Buffer.alloc(2 ** 18, 1);
  for (let left = bytes; left > 0; left -= part.length) native().crc32?.(part, 0);
}

function fuseInCache(bytes) {
  const [channels, width] = [14, 512];
  const dense = new Float32Array(channels * width * 9).fill(0.5);
  const pointwise = new Float32Array(channels * width).fill(0.5);
  const scales = new Float64Array(channels).fill(1);
  const factors = {dense: scales, pointwise: scales, identity: null};
  for (let left = bytes; left > 0; left -= dense.byteLength)
    native().fuseRows(dense, dense, pointwise, factors, 0, width);
}

/** Makes the system provide `bytes` bytes of memory in 2 MB pages. */
function haveAtHand(bytes) {
  const memory = new Uint8Array(bytes);
  native().preferHugePages(memory);
  memory.fill(1);
  native().release(memory);
}

async function fuse(path, keep = true) {
  const checkpoint = await openCheckpoint(path);
  const fusion = new NativeFusion();
  const network = networkOf(checkpoint, checkpointStructure(checkpoint), fusion);
  const weights = [];
  for await (const {weight, bias} of network.blocks('deploy')) {
    if (keep) weights.push(weight, bias);
    else fusion.release(weight);
  }
  fusion.close();
  weights.push(...Object.values((await network.linear()) ?? {}));
  await checkpoint.close();
  return weights;
}

function load(path, options = {winograd: 'off', batchSize: 1}) {
  return RepVGG.load(path, {device: 'cpu', ...options});
}

async function deployBytes(path) {
  return (await fuse(path)).reduce((sum, {byteLength}) => sum + byteLength, 0);
}

/** Prints the memory of this process before, at its peak, and after. */
async function printPeak(path, what) {
  const idle = process.memoryUsage.rss();
  const output = join(tmpdir(), `repvgg-peak-${process.pid}.pth`);
  const [, winograd, batchSize] = what.split(' ');
  const run = {
    keep: () => fuse(path),
    convert: () => convertCheckpoint(path, output),
    load: () => load(path, {winograd, batchSize: Number(batchSize)}),
  };
  globalThis.kept = await run[what.split(' ')[0]]();
  await rm(output, {force: true});
  globalThis.gc();
  await new Promise(resolve => setTimeout(resolve, 200)); // A thread of V8 frees memory in the background.
  // Not process.resourceUsage(), whose maximum includes the parent's.
  const [, peak] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  console.log(idle, peak * 1024, process.memoryUsage.rss());
  process.exit();
}

function python(files) {
  const interpreter = process.env.REPVGG_PYTHON;
  if (!interpreter) return {};
  return JSON.parse(
    execFileSync(interpreter, [join(root, 'scripts/load_speed.py'), ...files], {encoding: 'utf8'}),
  );
}
