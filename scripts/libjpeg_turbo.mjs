// Fetches the source of libjpeg-turbo from Debian and builds build-libjpeg/libjpeg.a, which CMakeLists.txt links. Debian's own static
// library is not position-independent, and npm has none. If it is unavailable, the addon is built without it and sharp decodes JPEGs at
// about a third of the speed (docs/decoding.md).
import {copyFileSync, existsSync, mkdirSync} from 'node:fs';
import path from 'node:path';
import {withDebian} from './debian.mjs';

const out = path.resolve(import.meta.dirname, '../build-libjpeg');
const headers = ['jpeglib.h', 'jmorecfg.h', 'jerror.h'];

if (!existsSync(path.join(out, 'libjpeg.a'))) {
  const problem = withDebian(build);
  if (problem) console.warn(`Building without libjpeg-turbo, sharp will decode JPEGs: ${problem}`);
}

function build({folder, run, source, unpack}) {
  const from = source('libjpeg-turbo');
  const options = [];
  if (process.arch === 'x64') {
    // Assembles its SIMD code, without which libjpeg-turbo is no faster than sharp.
    unpack(['nasm'], 'nasm');
    options.push(`-DCMAKE_ASM_NASM_COMPILER=${folder}/nasm/usr/bin/nasm`);
  }
  const settings = ['ENABLE_SHARED=OFF', 'WITH_TURBOJPEG=OFF', 'REQUIRE_SIMD=ON', 'CMAKE_BUILD_TYPE=Release'];
  settings.push('CMAKE_POSITION_INDEPENDENT_CODE=ON', 'CMAKE_C_VISIBILITY_PRESET=hidden');
  run('cmake', '-S', from, '-B', 'build', ...options, ...settings.map(setting => `-D${setting}`));
  run('cmake', '--build', 'build', '--parallel', '--target', 'jpeg-static');

  mkdirSync(out, {recursive: true});
  for (const header of headers) copyFileSync(path.join(from, header), path.join(out, header));
  // The library last: its presence means that the build is complete.
  for (const name of ['jconfig.h', 'libjpeg.a'])
    copyFileSync(path.join(folder, 'build', name), path.join(out, name));
}
