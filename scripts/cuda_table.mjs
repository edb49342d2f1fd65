// Formats the table in docs/kernels.md from the compiler's reports.

/** Splits a kernel name of scripts/cuda_names.mjs: its name, its template arguments as words, and the numbers among them. */
function parts(kernel) {
  const [name, ...words] = kernel.split(/[<>, ]+/).filter(Boolean);
  return {name, words, numbers: words.filter(word => /^\d+$/.test(word)).map(Number)};
}

/**
 * Bytes of dynamic shared memory per block, computed from the kernels' constants because the compiler does not know them. A text if they
 * depend on the layer.
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
      const stages = numbers[2];
      return stages * (rows + columns) * 128 + 256 * columns + (2 * stages + 2) * 8;
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
      const pixel = ((rows / 8) | 1) * 16; // The patch has 17 rows of 9 even columns, padded, and 8 odd ones.
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
/** The name of the same kernel in the precision that the table shows. */
const shown = kernel => kernel.replace(/\b(bf16|tf32|fp32|BFloat16)\b/, word => shorter.get(word));

/**
 * The table as Markdown. `cells` is Map(kernel -> Map(architecture -> {registers, spills})). Kernels in precisions other than fp16 are
 * omitted if they spill no more than in fp16. Kernels with the same name that differ only in shared memory share a row. A cell is empty
 * if the architecture cannot run the kernel.
 */
export function table(cells, archs) {
  const empty = 8; // Registers of a kernel without a body.
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

/** The largest difference in registers between a kernel that `table` omits and the same kernel in fp16. */
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
