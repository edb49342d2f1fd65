// Formats (or, with --check, verifies) every C++ and CUDA source with the clang-format from npm.
import {execFileSync, spawnSync} from 'node:child_process';
import {createRequire} from 'node:module';

const clangFormat = createRequire(import.meta.url)('clang-format-node').clangFormatPath;
const check = process.argv.includes('--check');
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  encoding: 'utf8',
});
const sources = tracked.split('\n').filter(file => /\.(cc|h|cu|cuh)$/.test(file));
const {status} = spawnSync(clangFormat, [...(check ? ['--dry-run', '--Werror'] : ['-i']), ...sources], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
