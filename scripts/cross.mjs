// Compiling for an architecture other than this machine's, with Debian's cross compilers.
const triplets = {arm64: 'aarch64-linux-gnu'};

/** The prefix of the binutils and compilers for an architecture: "" for this machine's own. */
export function crossPrefix(arch) {
  if (arch === process.arch) return '';
  if (process.platform !== 'linux' || !(arch in triplets)) {
    throw new Error(`Expected --arch ${process.arch}, or on Linux arm64, received ${arch}.`);
  }
  return `${triplets[arch]}-`;
}

/** The settings of CMake that choose the cross compiler, or null where none is needed. */
export function crossOptions(arch) {
  const prefix = crossPrefix(arch);
  if (prefix === '') return null;
  return {
    CMAKE_SYSTEM_NAME: 'Linux',
    CMAKE_SYSTEM_PROCESSOR: prefix.split('-')[0],
    CMAKE_C_COMPILER: `${prefix}gcc`,
    CMAKE_CXX_COMPILER: `${prefix}g++`,
  };
}
