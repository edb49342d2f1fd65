// Compiles every kernel for every architecture and prints its registers, shared memory and spills, for the table in docs/kernels.md.
//
//   node scripts/cuda_resources.mjs [--nvcc path] [--archs 70,75,80,86,89,90a] [--volta-nvcc path] [--files direct_mma]
//
// CUDA 13 starts at sm_75: architecture 70 needs the nvcc of a CUDA 12, given by --volta-nvcc if it is not the main one. Any compiler
// warning makes the script fail. Registers are per thread; "+n" means n bytes of spill stores.
import {execFile} from 'node:child_process';
import {mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {availableParallelism, tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs, promisify} from 'node:util';
import {readableNames} from './cuda_names.mjs';
import {mostApart, table} from './cuda_table.mjs';

const {values} = parseArgs({
  options: {
    nvcc: {type: 'string', default: 'nvcc'},
    'volta-nvcc': {type: 'string'},
    archs: {type: 'string', default: '75,80,86,89,90a'},
    files: {type: 'string', default: ''},
  },
});
const root = path.resolve(import.meta.dirname, '..');
const archs = values.archs.split(',');
const sources = readdirSync(path.join(root, 'cuda')).filter(
  name => name.endsWith('.cu') && name.includes(values.files),
);
const scratch = mkdtempSync(path.join(tmpdir(), 'cuda-resources-'));

const compile = async (source, arch) => {
  const {stderr} = await promisify(execFile)(
    (arch === '70' && values['volta-nvcc']) || values.nvcc,
    [
      ...['-std=c++20', '--expt-relaxed-constexpr', '-O3', '-DNDEBUG', '-Xptxas', '-v', '-I', root, '-c'],
      ...['-gencode', `arch=compute_${arch},code=sm_${arch}`],
      ...['-o', path.join(scratch, `${source}.${arch}.o`), path.join(root, 'cuda', source)],
    ],
    {maxBuffer: 1 << 28},
  );
  return stderr;
};

/** The mangled name, registers and bytes of spill stores of each kernel in a report of ptxas. */
const parse = report => {
  const kernels = [];
  let name;
  let spills;
  for (const line of report.split('\n')) {
    const entry = /Compiling entry function '([^']+)'/.exec(line);
    if (entry) [name, spills] = [entry[1], 0];
    const spill = /(\d+) bytes spill stores/.exec(line);
    if (spill) spills = Number(spill[1]);
    const used = /Used (\d+) registers/.exec(line);
    if (used) kernels.push({name, registers: Number(used[1]), spills});
  }
  return kernels;
};

const jobs = sources.flatMap(source => archs.map(arch => ({source, arch})));
const cells = new Map(); // Kernel -> architecture -> {registers, spills}.
const warnings = [];
const work = async () => {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    const report = await compile(job.source, job.arch);
    warnings.push(...report.split('\n').filter(line => /warning|C75\d\d/i.test(line)));
    const kernels = parse(report);
    for (const [i, name] of readableNames(kernels.map(({name}) => name)).entries()) {
      if (!cells.has(name)) cells.set(name, new Map());
      cells.get(name).set(job.arch, kernels[i]);
    }
  }
};
await Promise.all(Array.from({length: Math.min(4, availableParallelism())}, work));
rmSync(scratch, {recursive: true});

console.log(table(cells, archs));
console.log(
  `\nThe omitted kernels of other precisions differ by up to ${mostApart(cells, archs)} registers.`,
);
if (warnings.length > 0) {
  console.error([...new Set(warnings)].join('\n'));
  process.exit(1);
}
