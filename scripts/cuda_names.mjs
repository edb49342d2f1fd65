// Shared by scripts that compile the kernels and analyse the result.
import {execFileSync} from 'node:child_process';

/** Demangles kernel names and removes their common parts. */
export function readableNames(mangled) {
  const readable = execFileSync('c++filt', {input: mangled.join('\n'), encoding: 'utf8'}).split('\n');
  return mangled.map((_, i) =>
    readable[i]
      .replace(/^void /, '')
      .replace(/repvgg::cuda::|\(anonymous namespace\)::/g, '')
      .replace(/\(Precision\)(\d)/g, (_, precision) => ['fp32', 'tf32', 'fp16', 'bf16', 'fp8'][precision])
      .replace(/, \(Operand\)(\d)/g, (_, operand) => ['', ', pixels', ', weights'][operand])
      .replace(/\(TmaMode\)(\d)/g, (_, mode) => ['im2col', 'tiled'][mode])
      .replace(/\(Schedule\)(\d)/g, (_, schedule) => ['cooperative', 'ping-pong'][schedule])
      .replace(/\(ChainStep\)(\d)/g, (_, step) => ['begin', 'between', 'end'][step])
      .replace(/\((int|bool)\)/g, '')
      .replace(/\(.*$/, '')
      .replaceAll('> >', '>>'),
  );
}
