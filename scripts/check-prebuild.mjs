// node scripts/check-prebuild.mjs [--arch arm64] [--cuda DIR | --cpu] [--any-glibc]: checks that the binary of a release and the tarball with
// it are as documented. Needs binutils and, unless --cpu is given, cuobjdump from the toolkit (--cuda DIR, CUDA_PATH or PATH). A binary for
// another architecture is not loaded: npm run test:arm64 runs that one.
import {execFileSync} from 'node:child_process';
import {existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync} from 'node:fs';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs} from 'node:util';

const promised = {
  glibc: '2.28', // that of Node
  exports: ['napi_register_module_v1', 'node_api_module_get_api_version_v1'],
  libraries: /^(libc|libm|libgcc_s|libpthread|libdl|librt|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d$/,
  machineCode: ['sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_89', 'sm_90a'],
  ptx: ['sm_90'],
  tarballBytes: 40e6,
};

const {values} = parseArgs({
  options: {
    cuda: {type: 'string', default: process.env.CUDA_PATH},
    arch: {type: 'string', default: process.arch},
    cpu: {type: 'boolean', default: false},
    'any-glibc': {type: 'boolean', default: false},
  },
});
const root = path.resolve(import.meta.dirname, '..');
const {arch} = values;
const binary = `prebuilds/linux-${arch}/repvgg.glibc.node`;
const problems = [];
const expect = (condition, problem) => condition || problems.push(problem);
const read = (command, ...args) =>
  execFileSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1e9,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
const matches = (text, pattern) =>
  [...new Set(Array.from(text.matchAll(pattern), ([, group]) => group))].sort();
const same = (a, b) => a.join() === b.join();

if (!existsSync(path.join(root, binary))) {
  console.error(`There is no ${binary}: create it with "npm run prebuild".`);
  process.exit(1);
}
const files = readdirSync(path.join(root, `prebuilds/linux-${arch}`));
expect(files.length === 1, `prebuilds/linux-${arch} has more than one binary: ${files.join(', ')}`);

const symbols = read('readelf', '--dyn-syms', '--wide', binary);
const exported = matches(symbols, / (?:GLOBAL|WEAK) +DEFAULT +(?!UND)\S+ +([^\s@]+)/g);
expect(
  same(exported, promised.exports),
  `it exports ${exported.join(', ')}, not ${promised.exports.join(', ')}`,
);
const external = matches(symbols, /UND (napi_create_external_\w+)/g);
expect(external.length === 0, `it calls ${external.join(', ')}, which Electron refuses`);
const needed = matches(symbols, /UND (\S+@GLIBC_[\d.]+)/g);
const versionOf = symbol => symbol.split('@GLIBC_')[1];
const newest = needed.map(versionOf).sort(byVersion).at(-1);
const tooNew = needed.filter(symbol => byVersion(versionOf(symbol), promised.glibc) > 0);
expect(
  values['any-glibc'] || tooNew.length === 0,
  `it needs a glibc newer than ${promised.glibc} for ${tooNew.join(', ')}: see --glibc in scripts/prebuild.mjs`,
);

const libraries = matches(read('readelf', '--dynamic', binary), /\(NEEDED\).*\[(.+)\]/g);
const foreign = libraries.filter(library => !promised.libraries.test(library));
expect(foreign.length === 0, `it needs ${foreign.join(', ')}, which some systems lack`);
expect(!/\.symtab|\.debug/.test(read('readelf', '--sections', '--wide', binary)), 'it is not stripped');

const architectures = arch === process.arch ? checkLoaded() : [];

const [tarball] = JSON.parse(read('npm', 'pack', '--dry-run', '--json', '--ignore-scripts'));
const packed = new Set(tarball.files.map(file => file.path));
for (const file of [
  binary,
  'dist/index.js',
  'dist/index.d.ts',
  'dist/cli/main.js',
  'assets/digits/digits.pth',
  'LICENSE',
]) {
  expect(packed.has(file), `the tarball has no ${file}`);
}
expect(
  tarball.size < promised.tarballBytes,
  `the tarball has ${tarball.size} bytes, more than ${promised.tarballBytes}`,
);

const megabytes = bytes => `${(bytes / 1e6).toFixed(1)} MB`;
console.log(
  `${binary}: ${megabytes(statSync(path.join(root, binary)).size)}, glibc ${newest} or later, exports ${exported.join(' and ')}, needs ${libraries.join(', ')}`,
);
console.log(
  architectures.length === 0
    ? 'no CUDA'
    : `machine code for ${architectures.join(', ')} and PTX of compute_90`,
);
console.log(
  `tarball: ${megabytes(tarball.size)}, ${megabytes(tarball.unpackedSize)} unpacked, ${tarball.entryCount} files`,
);
for (const problem of problems) console.error(`wrong: ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;

/** Loads the binary and runs the demo with it; returns the architectures of its machine code for GPUs. */
function checkLoaded() {
  const {cudaInfo, cpuInfo} = createRequire(import.meta.url)(path.join(root, binary));
  expect(cpuInfo().jpeg !== null, 'it has no libjpeg-turbo');
  expect(cpuInfo().instructionSets.includes('baseline'), 'it has no kernels for processors without AVX2');
  let architectures = [];
  if (values.cpu) {
    expect(!cudaInfo().built, 'it has CUDA, and --cpu was given');
  } else {
    expect(cudaInfo().built, 'it has no CUDA');
    const cuobjdump = values.cuda ? path.join(values.cuda, 'bin/cuobjdump') : 'cuobjdump';
    architectures = matches(read(cuobjdump, '--list-elf', binary), /\.(sm_\w+)\.cubin/g);
    expect(
      same(architectures, promised.machineCode),
      `it has machine code for ${architectures.join(', ')}, not ${promised.machineCode.join(', ')}`,
    );
    const ptx = matches(read(cuobjdump, '--list-ptx', binary), /\.(sm_\w+)\.ptx/g);
    expect(same(ptx, promised.ptx), `it has PTX of ${ptx.join(', ')}, not ${promised.ptx.join(', ')}`);
  }

  // In a folder of its own, because an addon in build/ would take precedence.
  const alone = mkdtempSync(path.join(tmpdir(), 'repvgg-prebuild-'));
  symlinkSync(path.join(root, 'prebuilds'), path.join(alone, 'prebuilds'));
  const demo = execFileSync(process.execPath, ['dist/cli/main.js', 'demo', '--json'], {
    cwd: root,
    encoding: 'utf8',
    env: {...process.env, REPVGG_PREBUILD: alone},
  });
  rmSync(alone, {recursive: true});
  expect(JSON.parse(demo).correct.after >= 350, `the demo's answers are wrong: ${demo.slice(0, 300)}`);
  return architectures;
}

function byVersion(a, b) {
  const [x, y] = [a, b].map(version => version.split('.').map(Number));
  return x[0] - y[0] || (x[1] ?? 0) - (y[1] ?? 0) || (x[2] ?? 0) - (y[2] ?? 0);
}
