// Fetches the source of libjpeg-turbo from Debian and builds it as build-libjpeg/libjpeg.a, which CMakeLists.txt links.
// Debian's own static library is not position independent, and no package of npm has one. Needs apt and CMake, no root:
// apt works in a folder of its own and checks Debian's signatures. Where that is not to be had, the addon is built without
// the decoder, and sharp decodes JPEGs at about half of the speed: docs/decoding.md has both.
import {execFileSync} from 'node:child_process';
import {copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';

const suite = 'bookworm';
const root = path.resolve(import.meta.dirname, '..');
const out = path.join(root, 'build-libjpeg');
const headers = ['jpeglib.h', 'jmorecfg.h', 'jerror.h'];

if (!existsSync(path.join(out, 'libjpeg.a'))) {
  const work = mkdtempSync(path.join(tmpdir(), 'repvgg-libjpeg-'));
  try {
    build(work);
  } catch (error) {
    const reason = `${error.stderr ?? ''}`.trim().split('\n').at(-1) || error.message;
    console.warn(`Building without libjpeg-turbo, sharp will decode JPEGs: ${reason}`);
  } finally {
    rmSync(work, {recursive: true, force: true});
  }
}

function build(work) {
  const run = (command, ...args) =>
    execFileSync(command, args, {cwd: work, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
  for (const folder of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(path.join(work, folder), {recursive: true});
  const origin = `[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian ${suite} main`;
  writeFileSync(path.join(work, 'sources.list'), `deb ${origin}\ndeb-src ${origin}\n`);
  const apt = (...args) =>
    run(
      'apt-get',
      ...['-qq', '-o', `Dir::State::lists=${work}/lists`, '-o', `Dir::Cache=${work}/cache`],
      ...['-o', `Dir::Etc::SourceList=${work}/sources.list`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
      ...['-o', 'APT::Sandbox::User=', '-o', 'APT::Update::Error-Mode=any'],
      ...args,
    );
  const only = pattern =>
    path.join(
      work,
      readdirSync(work).find(name => pattern.test(name)),
    );

  apt('update');
  apt('source', '--download-only', 'libjpeg-turbo');
  run('tar', 'xf', only(/\.orig\.tar/));
  const options = [];
  if (process.arch === 'x64') {
    // Its SIMD code is written for this assembler; without it libjpeg-turbo is no faster than sharp.
    apt('download', 'nasm');
    run('dpkg-deb', '-x', only(/^nasm_.*\.deb$/), 'nasm');
    options.push(`-DCMAKE_ASM_NASM_COMPILER=${work}/nasm/usr/bin/nasm`);
  }
  const source = only(/^libjpeg-turbo-[\d.]+$/);
  const settings = ['ENABLE_SHARED=OFF', 'WITH_TURBOJPEG=OFF', 'REQUIRE_SIMD=ON', 'CMAKE_BUILD_TYPE=Release'];
  settings.push('CMAKE_POSITION_INDEPENDENT_CODE=ON', 'CMAKE_C_VISIBILITY_PRESET=hidden');
  run('cmake', '-S', source, '-B', 'build', ...options, ...settings.map(setting => `-D${setting}`));
  run('cmake', '--build', 'build', '--parallel', '--target', 'jpeg-static');

  mkdirSync(out, {recursive: true});
  for (const header of headers) copyFileSync(path.join(source, header), path.join(out, header));
  for (const name of ['jconfig.h', 'libjpeg.a'])
    copyFileSync(path.join(work, 'build', name), path.join(out, name));
}
