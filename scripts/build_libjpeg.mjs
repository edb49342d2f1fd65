import {copyFileSync, existsSync, mkdirSync} from 'node:fs';
import path from 'node:path';
import {crossOptions} from './cross.mjs';
import {withDebian} from './debian.mjs';

const headers = ['jpeglib.h', 'jmorecfg.h', 'jerror.h'];

/**
 * Fetches the source of libjpeg-turbo from Debian and builds libjpeg.a, which CMakeLists.txt links. Debian's own static library is not
 * position-independent, and npm has none. If the source is unavailable, the addon is built without it and sharp decodes JPEGs at about a
 * third of the speed (docs/decoding.md).
 *
 * @returns the folder of the library: build-libjpeg, or for another architecture than this machine's build-libjpeg-ARCH
 */
export function buildLibjpeg(arch) {
  const cross = crossOptions(arch);
  const out = path.resolve(import.meta.dirname, cross ? `../build-libjpeg-${arch}` : '../build-libjpeg');
  if (!existsSync(path.join(out, 'libjpeg.a'))) {
    const problem = withDebian(debian => build(debian, arch, out));
    if (problem) console.warn(`Building without libjpeg-turbo, sharp will decode JPEGs: ${problem}`);
  }
  return out;
}

function build({folder, run, source, unpack}, arch, out) {
  const from = source('libjpeg-turbo');
  const options = Object.entries(crossOptions(arch) ?? {}).map(([name, value]) => `-D${name}=${value}`);
  if (arch === 'x64') {
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
