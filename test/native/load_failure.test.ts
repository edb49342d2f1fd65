import {spawnSync} from 'node:child_process';
import {copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {findAddon} from '../../ts/native/load_addon.ts';
import {explainLoadFailure, oldestNode} from '../../ts/native/load_failure.ts';
import type {Machine} from '../../ts/native/machine.ts';
import {Crash, probe} from '../../ts/native/probe.ts';

const machine: Machine = {
  platform: 'linux',
  arch: 'x64',
  glibc: '2.36',
  node: '22.12.0',
  cpu: 'Some Processor',
};
const file = '/app/node_modules/repvgg/prebuilds/linux-x64/repvgg.glibc.node';
const prebuilds = ['linux-x64'];
const none = new Error('No binary was found.');
const buildAdvice = /npx cmake-js compile -d node_modules\/repvgg/;

async function folder(t: ExecutionContext): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'repvgg-load-'));
  t.teardown(() => rm(made, {recursive: true}));
  return made;
}

test('the oldest Node is the one of package.json', async t => {
  const {engines} = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  t.is(`>=${oldestNode.replace(/\.0$/, '')}`, engines.node);
});

test('an old Node is named before anything that follows from it', t => {
  const message = explainLoadFailure({file, cause: none, prebuilds}, {...machine, node: '18.20.4'});
  t.regex(message, /found Node 18\.20\.4, required 20\.19\.0 or later\. Update Node\.$/);
});

test('a platform without a binary: what there is, and how to build one', t => {
  const message = explainLoadFailure({file: null, cause: none, prebuilds}, {...machine, arch: 'arm64'});
  t.regex(message, /found linux-arm64, but there are only binaries for linux-x64 with glibc/);
  t.regex(message, buildAdvice);
  const both = ['linux-arm64', 'linux-x64'];
  const mac = {...machine, platform: 'darwin', arch: 'arm64', glibc: null};
  t.regex(
    explainLoadFailure({file: null, cause: none, prebuilds: both}, mac),
    /found darwin-arm64, but there are only binaries for linux-arm64 with glibc, linux-x64 with glibc/,
  );
});

test('every prebuilt target has an entry for bundlers', async t => {
  const {exports} = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  for (const target of ['linux-x64', 'linux-arm64']) {
    const {default: entry} = exports[`./${target}`];
    const source = await readFile(new URL(`../../${entry}`, import.meta.url), 'utf8');
    const literal = await readFile(new URL(`../../targets/${target}.cjs`, import.meta.url), 'utf8');
    t.true(source.includes(`./${target}.cjs`));
    t.true(literal.includes(`../prebuilds/${target}/repvgg.glibc.node`));
  }
});

test('musl: the image to take instead', t => {
  const cause = new Error('Error loading shared library ld-linux-x86-64.so.2: No such file or directory');
  const message = explainLoadFailure({file, cause, prebuilds}, {...machine, glibc: null});
  t.regex(message, /found linux-x64 with musl, but there are only binaries for linux-x64 with glibc/);
  t.regex(message, /node:22-slim/);
});

test('a package that was packed without binaries', t => {
  const message = explainLoadFailure({file: null, cause: none, prebuilds: []}, machine);
  t.regex(message, /contains no binary\. Install the package again .*, or build the addon/);
});

test('a binary that is gone from its folder, and a folder without one that REPVGG_PREBUILD names', t => {
  const gone = explainLoadFailure({file: null, cause: none, prebuilds}, machine);
  t.regex(gone, /its binary for linux-x64 is missing from the package\. Install the package again/);
  const named = explainLoadFailure({file: null, cause: none, prebuilds: [], named: '/nowhere'}, machine);
  t.regex(named, /\/nowhere, which REPVGG_PREBUILD names, contains no binary for it\. Unset REPVGG_PREBUILD/);
});

test('what is no addon', t => {
  const cause = new Error("Module did not self-register: '/app/x.node'.");
  t.regex(explainLoadFailure({file, cause, prebuilds}, machine), /self-register.*Install the package again/);
});

test('an empty REPVGG_PREBUILD names nothing, and a relative one is where the process is', async t => {
  const module = new URL('../../ts/native/load_addon.ts', import.meta.url);
  const printed = (code: string, named: string, cwd: string): string => {
    const args = [
      `--import=${pathToFileURL(createRequire(import.meta.url).resolve('tsx'))}`,
      '--input-type=module',
      '--eval',
      `const {findAddon, loadAddon} = await import('${module}'); console.log(${code});`,
    ];
    const env = {...process.env, REPVGG_PREBUILD: named};
    const {stdout, stderr} = spawnSync(process.execPath, args, {env, cwd, encoding: 'utf8'});
    return stdout + stderr;
  };
  t.is(printed('findAddon() !== null', '', tmpdir()), 'true\n');
  t.is(printed('findAddon() !== null', path.join(tmpdir(), 'nowhere'), tmpdir()), 'false\n');
  const at = await folder(t);
  await copyFile(findAddon()!, await release(at));
  t.is(printed('typeof loadAddon()', path.basename(at), path.dirname(at)), 'object\n');
});

test('a file system that runs no code, and a library that is missing', t => {
  const explain = (text: string): string =>
    explainLoadFailure({file, cause: new Error(text), prebuilds}, machine);
  t.regex(explain(`${file}: failed to map segment from shared object`), /refuses to run code.*"noexec"/);
  t.regex(
    explain('libgcc_s.so.1: cannot open shared object file: No such file or directory'),
    /it requires the library libgcc_s\.so\.1, which is missing\. Install it/,
  );
});

test('a processor that lacks instructions of the binary', t => {
  const message = explainLoadFailure({file, cause: new Crash(file, 'SIGILL'), prebuilds}, machine);
  t.regex(
    message,
    /instructions that this processor \(Some Processor\) lacks.*SIGILL\. Build the addon from source/,
  );
});

test('an old Node is named even where the addon would load', t => {
  const script = `
    Object.defineProperty(process.versions, 'node', {value: '18.20.8'});
    const {native} = await import(${JSON.stringify(new URL('../../ts/native/addon.ts', import.meta.url))});
    try { native(); } catch (error) { console.log(error.code, error.message); }`;
  t.regex(
    run(script),
    /^ERR_NATIVE_LOAD .*found Node 18\.20\.8, required 20\.19\.0 or later\. Update Node\.$/,
  );
});

/** What a script prints, in a process of its own. */
function run(script: string, nodeOptions: string[] = [], env: Record<string, string> = {}): string {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const args = [...nodeOptions, `--import=${tsx}`, '--input-type=module', '--eval', script];
  const options = {encoding: 'utf8', timeout: 60_000, env: {...process.env, ...env}} as const;
  const {stdout, stderr} = spawnSync(process.execPath, args, options);
  return stdout.trim() || stderr;
}

/** Loads the addon that `build/Release/repvgg.node` of `at` is. */
function load(at: string, nodeOptions: string[] = []): string {
  const script = `
    import {native} from ${JSON.stringify(new URL('../../ts/native/addon.ts', import.meta.url))};
    try { console.log(native().cpuInfo().usableCores > 0); } catch (error) { console.log(error.code, error.message); }`;
  return run(script, nodeOptions, {REPVGG_PREBUILD: at});
}

async function release(at: string): Promise<string> {
  const directory = path.join(at, 'build', 'Release');
  await mkdir(directory, {recursive: true});
  return path.join(directory, 'repvgg.node');
}

test('a binary for a newer glibc is refused with the version that it needs', async t => {
  const at = await folder(t);
  const binary = await readFile(findAddon()!);
  const versions = Array.from(binary.toString('latin1').matchAll(/GLIBC_2\.\d+/g));
  t.true(versions.length > 0);
  // Its tables of versions still say what was there before, so that nothing of this system can fit.
  for (const {0: text, index} of versions) binary.write(text.replace('2.', '9.'), index, 'latin1');
  await writeFile(await release(at), binary);
  t.regex(load(at), /^ERR_NATIVE_LOAD .*: found glibc 2\.\d+, required 9\.\d+ or later by .*repvgg\.node/);
});

test('a damaged binary', async t => {
  const at = await folder(t);
  await writeFile(
    await release(at),
    'not an ELF file, but longer than the header of one, so that it is looked at'.repeat(9),
  );
  t.regex(
    load(at),
    /^ERR_NATIVE_LOAD .*repvgg\.node is damaged or for another system \(.*\)\. Install the package again/,
  );
});

test('no binary at all', async t => {
  t.regex(load(await folder(t)), /^ERR_NATIVE_LOAD .* which REPVGG_PREBUILD names, contains no binary/);
});

test('a Node that may not load addons', async t => {
  const at = await folder(t);
  await copyFile(findAddon()!, await release(at));
  t.is(load(at), 'true');
  t.regex(
    load(at, ['--no-addons']),
    /^ERR_NATIVE_LOAD .*may not load addons .*Start Node with --allow-addons/,
  );
});

// To `require`, a JavaScript file is as good as a binary.
const crashing = 'process.kill(process.pid, "SIGSEGV");';

test('a binary that crashes takes a process with it that is not this one', async t => {
  const at = await folder(t);
  const binary = path.join(at, 'crashes.js');
  await writeFile(binary, crashing);
  const crash = probe(binary, {...process.env, REPVGG_CACHE_DIR: at});
  t.true(crash instanceof Crash);
  t.is(crash?.signal, 'SIGSEGV');
  t.deepEqual(await readdir(at), ['crashes.js'], 'a crash is not remembered as a success');
  t.regex(
    explainLoadFailure({file: binary, cause: crash!, prebuilds}, machine),
    /crashes\.js crashed \(SIGSEGV\)/,
  );
});

test('the addon itself, damaged so that it crashes while it is loaded, is an error and not the end of the process', async t => {
  const at = await folder(t);
  const binary = await readFile(findAddon()!);
  // UD2 of x64 and UDF of arm64 are no instructions.
  Buffer.from(process.arch === 'arm64' ? [0, 0, 0, 0] : [0x0f, 0x0b]).copy(binary, initOffset(binary));
  const file = await release(at);
  await writeFile(file, binary);
  const unguarded = spawnSync(process.execPath, ['-e', 'require(process.argv[1])', file]);
  t.is(unguarded.signal, 'SIGILL');
  t.regex(load(at), /^ERR_NATIVE_LOAD .*repvgg\.node uses instructions that this processor \(.*SIGILL/);
});

/** Where an ELF file has the function that the loader runs first: DT_INIT of the dynamic segment. Code lies at its own address. */
function initOffset(file: Buffer): number {
  const [headers, size, count] = [
    Number(file.readBigUInt64LE(32)),
    file.readUInt16LE(54),
    file.readUInt16LE(56),
  ];
  const [dynamic, init] = [2, 12n];
  const segments = Array.from({length: count}, (_, i) => headers + i * size);
  const segment = segments.find(header => file.readUInt32LE(header) === dynamic)!;
  let entry = Number(file.readBigUInt64LE(segment + 8));
  while (file.readBigUInt64LE(entry) !== init) entry += 16;
  return Number(file.readBigUInt64LE(entry + 8));
}

test('the addon asks for no external buffers, which Electron does not allow', async t => {
  const binary = await readFile(findAddon()!);
  t.true(binary.includes('napi_create_promise'), 'what it asks for is seen by its name');
  t.false(binary.includes('napi_create_external_'));
});

test('a binary that was tried is not tried again until it changes', async t => {
  const at = await folder(t);
  const binary = path.join(at, 'addon.js');
  const env = {...process.env, REPVGG_CACHE_DIR: path.join(at, 'cache')};
  const tries = async () => (await readFile(path.join(at, 'tries'), 'utf8')).length;
  const counting = `require('fs').appendFileSync(${JSON.stringify(path.join(at, 'tries'))}, 'x'); exports.cpuInfo = () => 1;`;
  await writeFile(binary, counting);
  t.is(probe(binary, env), null);
  t.is(probe(binary, env), null);
  t.is(await tries(), 1);
  await writeFile(binary, `${counting} // changed`);
  t.is(probe(binary, env), null);
  t.is(await tries(), 2);
});

test('a cache folder that cannot be written does not stop anything', async t => {
  const at = await folder(t);
  const notFolder = path.join(at, 'file');
  await writeFile(notFolder, '');
  t.is(probe(findAddon()!, {...process.env, REPVGG_CACHE_DIR: path.join(notFolder, 'cache')}), null);
});

test('where sharp does not load, the package does, and decoding says what sharp found and requires', t => {
  const refusal = `throw new Error('Could not load the "sharp" module using the linux-x64 runtime\\\\nUnsupported CPU: Prebuilt binaries for Linux x64 require v2 microarchitecture\\\\nPossible solutions:\\\\n- many')`;
  const hooks = `export const resolve = (name, context, next) =>
    name === 'sharp' ? {url: 'data:text/javascript,' + encodeURIComponent(\`${refusal}\`), shortCircuit: true} : next(name, context);`;
  const script = `
    import {register} from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}));
    const {RepVGG} = await import(${JSON.stringify(new URL('../../ts/index.ts', import.meta.url))});
    const model = await RepVGG.load('digits');
    const raw = {data: new Uint8Array(32 * 32), width: 32, height: 32, channels: 1};
    console.log((await model.classify([raw]))[0].length);
    await model.classify([Buffer.from('89504e470d0a1a0a0000', 'hex')]).catch(error => console.log(error.code, error.message));`;
  const [predictions, message] = run(script).split('\n');
  t.is(predictions, '5', 'raw pixels need no sharp');
  t.regex(
    message ?? '',
    /^ERR_NATIVE_LOAD sharp, which decodes the images, does not load: .*linux-x64 runtime; Unsupported CPU: .*v2 microarchitecture\. Install it again/,
  );
});
