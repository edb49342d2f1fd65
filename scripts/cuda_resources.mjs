// Compiles every kernel for every architecture and prints registers and spills of each: the table of docs/kernels.md.
//
//   node scripts/cuda_resources.mjs [--nvcc path] [--archs 75,80,86,89,90a] [--files direct_mma]
//
// CUDA 13 starts at sm_75; with a CUDA 12 nvcc, add 70. Any warning of the compiler makes the script fail. "r" is
// registers a thread, "+n" bytes of spill stores. Shared memory is dynamic and the same everywhere: it is in the
// kernels' comments and tables. Without nvcc there is nothing to print, and that is an error.
import {execFile} from 'node:child_process';
import {mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {availableParallelism, tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs, promisify} from 'node:util';
import {readableNames} from './cuda_names.mjs';

const {values} = parseArgs({
  options: {
    nvcc: {type: 'string', default: 'nvcc'},
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
    values.nvcc,
    [
      ...['-std=c++20', '--expt-relaxed-constexpr', '-O3', '-DNDEBUG', '-Xptxas', '-v', '-I', root, '-c'],
      ...['-gencode', `arch=compute_${arch},code=sm_${arch}`],
      ...['-o', path.join(scratch, `${source}.${arch}.o`), path.join(root, 'cuda', source)],
    ],
    {maxBuffer: 1 << 28},
  );
  return stderr;
};

/** [mangled name, registers, bytes of spill stores] of every kernel in ptxas's report. */
const parse = report => {
  const kernels = [];
  let name, spills;
  for (const line of report.split('\n')) {
    const entry = /Compiling entry function '([^']+)'/.exec(line);
    if (entry) [name, spills] = [entry[1], 0];
    const spill = /(\d+) bytes spill stores/.exec(line);
    if (spill) spills = Number(spill[1]);
    const used = /Used (\d+) registers/.exec(line);
    if (used) kernels.push([name, Number(used[1]), spills]);
  }
  return kernels;
};

const jobs = sources.flatMap(source => archs.map(arch => ({source, arch})));
const cells = new Map(); // Kernel -> architecture -> text.
const warnings = [];
const work = async () => {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    const report = await compile(job.source, job.arch);
    warnings.push(...report.split('\n').filter(line => /warning|C75\d\d/i.test(line)));
    for (const [name, registers, spills] of parse(report)) {
      if (!cells.has(name)) cells.set(name, {source: job.source, texts: new Map()});
      cells.get(name).texts.set(job.arch, `${registers}${spills ? ` +${spills}` : ''}`);
    }
  }
};
await Promise.all(Array.from({length: Math.min(4, availableParallelism())}, work));
rmSync(scratch, {recursive: true});

const names = [...cells.keys()];
const readable = readableNames(names);
const rows = names
  .map((name, i) => ({
    file: cells.get(name).source,
    kernel: readable[i],
    texts: cells.get(name).texts,
  }))
  .sort(
    (a, b) => a.file.localeCompare(b.file) || a.kernel.localeCompare(b.kernel, undefined, {numeric: true}),
  );
console.log(`| file | kernel | ${archs.map(arch => `sm_${arch}`).join(' | ')} |`);
console.log(`|---|---|${archs.map(() => '---').join('|')}|`);
for (const {file, kernel, texts} of rows) {
  console.log(`| ${file} | \`${kernel}\` | ${archs.map(arch => texts.get(arch) ?? '').join(' | ')} |`);
}
if (warnings.length > 0) {
  console.error([...new Set(warnings)].join('\n'));
  process.exit(1);
}
