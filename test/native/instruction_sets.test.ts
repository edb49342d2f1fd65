// What keeps instructions from processors that do not have them.
import {execFileSync} from 'node:child_process';
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {temporaryFolder} from '../folder.ts';
import {testWhere} from '../where.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string): Promise<string> => readFile(join(root, file), 'utf8');
const testOnX64 = testWhere(process.arch === 'x64', 'the processor is of another kind');

/** The sources compiled for an instruction set, the table of kernels in each, and the condition for choosing it. */
const sources = [
  ['kernels_avx2', 'kAvx2Kernels', 'kernels', /== kAvx2Kernels\)[ {\n]*return ([^;]*);/],
  ['kernels_avx512', 'kAvx512Kernels', 'kernels', /== kAvx512Kernels\)[ {\n]*return ([^;]*);/],
  ['bf16_avx512', 'kAvx512Bf16Kernels', 'bf16_kernels', /const bool avx512 =([^;]*);/],
  ['bf16_amx', 'kAmxKernels', 'bf16_kernels', /const bool avx512 =([^;]*);/], // And tiles, by CPUID.
] as const;

for (const [source, table, chooser, condition] of sources) {
  test(`${table} are chosen only where the processor has all that they are compiled for`, async t => {
    const cmake = await read('CMakeLists.txt');
    const bf16 = /set\(bf16_options ([^)]*)\)/.exec(cmake)![1]!;
    const [, options] = new RegExp(`set_source_files_properties\\(cpu/${source}.cc ([^)]*)\\)`).exec(cmake)!;
    const flags = options!.replace(/\$\{bf16_options\}/, bf16).match(/(?<=-m)(avx|fma)\w*/g)!;
    const [, asked] = condition.exec(await read(`cpu/${chooser}.cc`))!;
    t.deepEqual(
      flags.filter(flag => !asked!.includes(`__builtin_cpu_supports("${flag}")`)),
      [],
    );
  });

  // The linker keeps one copy of an inline function, perhaps this one, for all sources. Unoptimised, none is inlined.
  testOnX64(`${source}.cc shares no function with other sources`, async t => {
    const object = join(await temporaryFolder(t), `${source}.o`);
    const args = ['-std=c++20', '-O0', '-march=sapphirerapids', '-w', '-I.', '-c', `cpu/${source}.cc`];
    execFileSync(process.env.CXX ?? 'c++', [...args, '-o', object], {cwd: root});
    const symbols = execFileSync('nm', ['--defined-only', '--extern-only', '--demangle', object], {
      encoding: 'utf8',
    });
    t.deepEqual(
      symbols
        .trim()
        .split('\n')
        .map(line => line.replace(/^\S+ /, '')),
      [`D repvgg::cpu::${table}`],
    );
  });
}
