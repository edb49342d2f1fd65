// Counts the instructions in the main loop of each kernel's machine code, for the table "Main loops" in docs/kernels.md.
//
//   node scripts/cuda_loops.mjs [--nvcc path] [--cuobjdump path] [--arch 90a] [--files direct_fp32,winograd_f2_fp32]
//
// The main loop is the smallest loop with at least half as many multiply-adds (FFMA) or tensor core products (HMMA) as the kernel's
// richest loop. The part that stores to device memory is not counted, since nearly every iteration jumps over it. A multiprocessor
// issues one instruction of any kind per cycle on each of its four schedulers; "share" is the part of them that multiplies. "shared
// memory" is the number of cycles for a warp's loads relative to those for its FFMA: 16 bytes per lane take two cycles if lanes n and
// n ^ 1, or n and n ^ 2, read the same address, as in fp32_tile.cuh, and 4 bytes take one. "reloads" are loads of spilled registers.
import {execFile, execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs, promisify} from 'node:util';
import {readableNames} from './cuda_names.mjs';

const {values} = parseArgs({
  options: {
    nvcc: {type: 'string', default: 'nvcc'},
    cuobjdump: {type: 'string', default: 'cuobjdump'},
    arch: {type: 'string', default: '90a'},
    files: {
      type: 'string',
      default: 'direct_fp32,winograd_f2_fp32,winograd_f4_fp32,direct_mma_fp16,direct_wmma',
    },
  },
});
const root = path.resolve(import.meta.dirname, '..');
const scratch = mkdtempSync(path.join(tmpdir(), 'cuda-loops-'));

async function machineCode(source) {
  const cubin = path.join(scratch, `${source}.cubin`);
  await promisify(execFile)(values.nvcc, [
    ...['-std=c++20', '--expt-relaxed-constexpr', '-O3', '-DNDEBUG', '-I', root, '-cubin', '-o', cubin],
    ...['-gencode', `arch=compute_${values.arch},code=sm_${values.arch}`],
    path.join(root, 'cuda', `${source}.cu`),
  ]);
  return execFileSync(values.cuobjdump, ['-sass', cubin], {encoding: 'utf8', maxBuffer: 1 << 28});
}

/** {at, name, target} of each instruction. */
function instructions(text) {
  // "@!PT" never executes: the compiler uses it as padding.
  return [...text.matchAll(/\/\*([0-9a-f]{4,})\*\/\s+(?:@!?U?P(?!T)\w+ )?([A-Z@][\w.!]*)([^;]*);/g)].map(
    ([, at, name, rest]) => ({
      at: Number.parseInt(at, 16),
      name,
      target: name === 'BRA' ? Number.parseInt(/0x([0-9a-f]+)/.exec(rest)?.[1] ?? '', 16) : Number.NaN,
    }),
  );
}

const multiplies = ({name}) => /^(FFMA|HMMA)/.test(name);

function mainLoop(all) {
  const loops = all
    .filter(({at, target}) => target <= at)
    .map(({at, target}) => all.filter(one => one.at >= target && one.at <= at));
  const counts = loops.map(loop => loop.filter(multiplies).length);
  const most = Math.max(0, ...counts);
  if (most < 16) return null;
  const loop = loops.filter((_, i) => counts[i] >= most / 2).sort((a, b) => a.length - b.length)[0];
  const rare = loop
    .filter(({at, target}) => target > at && target <= loop.at(-1).at)
    .map(({at, target}) => loop.filter(one => one.at > at && one.at < target))
    .filter(part => part.some(({name}) => name.startsWith('STG')) && !part.some(multiplies))
    .sort((a, b) => b.length - a.length)[0];
  return loop.filter(one => !rare?.includes(one));
}

console.log(
  '| kernel | loop | FFMA or HMMA | share | LDS.128 | LDS | LDSM | copies | reloads | shared memory |',
);
console.log('|---|---|---|---|---|---|---|---|---|---|');
for (const source of values.files.split(',')) {
  const parts = (await machineCode(source)).split('Function : ').slice(1);
  const names = readableNames(parts.map(part => part.split('\n')[0].trim()));
  for (const [i, part] of parts.entries()) {
    const loop = mainLoop(instructions(part));
    if (!loop) continue;
    const count = pattern => loop.filter(({name}) => pattern.test(name)).length;
    const products = loop.filter(multiplies).length;
    const wide = count(/^LDS\.[\w.]*128/);
    const narrow = count(/^LDS(\.|$)/) - wide;
    const fp32 = count(/^FFMA/) > 0;
    console.log(
      `| \`${names[i]}\` | ${loop.length} | ${products} | ${Math.round((100 * products) / loop.length)} % | ${wide} | ${narrow} | ${count(/^LDSM/)} | ${count(/^(LDGSTS|LDG)/)} | ${count(/^LDL/)} | ${fp32 ? `${Math.round((100 * (2 * wide + narrow)) / (products / 4))} %` : ''} |`,
    );
  }
}
rmSync(scratch, {recursive: true});
