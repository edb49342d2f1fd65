// The table of docs/kernels.md, from what the compiler says of each kernel.

/** Names with parameters, as scripts/cuda_names.mjs has them: [name, numbers, the rest as words]. */
function parts(kernel) {
  const [name, ...words] = kernel.split(/[<>, ]+/).filter(Boolean);
  return {name, words, numbers: words.filter(word => /^\d+$/.test(word)).map(Number)};
}

/**
 * Bytes of a block. The launch gives them, so the compiler does not know; they are what the constants of the kernels come to.
 * A text where the layer decides.
 */
function sharedMemory(kernel) {
  const {name, words, numbers} = parts(kernel);
  const [rows, columns] = numbers;
  switch (name) {
    case 'DirectFp32Kernel':
    case 'WinogradF4ProductKernel':
      return 3 * (rows + columns) * 64;
    case 'DirectMmaKernel':
    case 'ChainProductsKernel':
      return Math.max(
        numbers[4] * (rows + columns) * 64,
        rows * (columns + 8) * (words.includes('tf32') ? 4 : 2),
      );
    case 'DirectWmmaKernel':
      return Math.max(2 * (rows + columns) * 80, rows * (columns + 8) * 4);
    case 'GemmSm90aKernel': {
      const [rowBlocks, width, stages] = numbers;
      const consumers = words[6] === 'true' ? 1 : 2; // Of one tile: its two warpgroups take turns, or halves.
      return stages * (64 * rowBlocks * consumers + width) * 128 + 256 * width + (2 * stages + 2) * 8;
    }
    case 'WinogradF2Kernel':
    case 'WinogradF2MmaKernel':
      return 96 << 10;
    case 'ChainTransformKernel':
      return words.at(-1) === 'end' ? 0 : '128 B a pixel';
    case 'StemKernel':
      return (3 * 17 * 36 + 27 * rows) * 4;
    case 'StemMmaKernel':
      return (11 * 8 * rows + 33 * 50) * 4;
    case 'StemFusedKernel': {
      const pixel = ((rows / 8) | 1) * 16; // Of the patch: 17 rows of 9 even columns, filled up, and 8 odd ones.
      const patch = 17 * (Math.floor((9 * pixel + 63) / 128) * 128 + 64 + 8 * pixel);
      return patch + (columns <= 64 ? 3 : 2) * columns * 64 + rows * 128 + 11 * rows * 4 + 35 * 53 * 4;
    }
    case 'PoolKernel':
      return 8 * 32 * 2 * 4;
    case 'SoftmaxTopKKernel':
      return 8 * 12;
    case 'TrainFormKernel':
      return 16 * (33 + 64) * 4;
    case 'WgmmaLimitKernel':
      return (64 + 256) * 128;
    case 'WmmaLimitKernel':
      return 4 << 10;
    default:
      return 0;
  }
}

const shorter = new Map([
  ['bf16', 'fp16'],
  ['tf32', 'fp16'],
  ['fp32', 'fp16'],
  ['BFloat16', 'Half'],
]);
/** The kernel of the precision that the table shows. */
const shown = kernel => kernel.replace(/\b(bf16|tf32|fp32|BFloat16)\b/, word => shorter.get(word));

/**
 * Markdown. `cells` is Map(kernel -> Map(architecture -> {registers, spills})). Kernels of other precisions than fp16 are left
 * out where they spill no more than fp16's, and kernels of one name that differ in nothing but shared memory share a row.
 * Kernels that an architecture cannot run are empty there.
 */
export function table(cells, archs) {
  const empty = 8; // Registers: with more, a kernel does something.
  const text = ({registers, spills} = {registers: 0}) =>
    registers > empty ? `${registers}${spills > 0 ? ` +${spills}` : ''}` : '';
  const rows = [...cells].filter(([kernel, own]) => {
    const like = cells.get(shown(kernel));
    if (like === own || like === undefined) return true;
    return archs.some(arch => (own.get(arch)?.spills ?? 0) > (like.get(arch)?.spills ?? 0));
  });
  rows.sort(([a], [b]) => a.localeCompare(b, 'en', {numeric: true}));
  const alike = new Map();
  for (const [kernel, own] of rows) {
    const key = [parts(kernel).name, ...archs.map(arch => text(own.get(arch)))].join(' | ');
    alike.set(key, [...(alike.get(key) ?? []), kernel]);
  }
  const lines = [
    `| kernel | shared memory | ${archs.map(arch => `sm_${arch}`).join(' | ')} |`,
    `|---|---|${archs.map(() => '---').join('|')}|`,
  ];
  for (const [key, kernels] of alike) {
    const registers = key.slice(key.indexOf(' | '));
    const few = kernels.map(kernel => `\`${kernel}\``).join(', ');
    const label = kernels.length > 3 ? `\`${parts(kernels[0]).name}\`, ${kernels.length} variants` : few;
    lines.push(`| ${label} | ${sizes(kernels.map(sharedMemory))}${registers} |`);
  }
  return lines.join('\n');
}

function sizes(bytes) {
  if (typeof bytes[0] === 'string') return bytes[0];
  const [least, most] = [Math.min(...bytes), Math.max(...bytes)].map(size => (size / 1024).toFixed(1));
  return least === most ? `${least} KB` : `${least} to ${most} KB`;
}

/** The largest difference in registers between a kernel that `table` leaves out and its like in fp16. */
export function mostApart(cells, archs) {
  let most = 0;
  for (const [kernel, own] of cells) {
    for (const arch of archs) {
      const [a, b] = [own.get(arch)?.registers, cells.get(shown(kernel))?.get(arch)?.registers];
      if (Math.min(a, b) > 8) most = Math.max(most, Math.abs(a - b));
    }
  }
  return most;
}
