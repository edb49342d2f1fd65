// Generates the README's table of speed from the committed results of "npm run bench". "npm run docs" writes it into the README.
import {readFileSync} from 'node:fs';
import path from 'node:path';

const folder = path.resolve(import.meta.dirname, '../bench/results');
const models = ['RepVGG-A0', 'RepVGG-A2', 'RepVGG-B1g4'];
const batches = [1, 32];

export function speedTable() {
  const read = precision =>
    JSON.parse(readFileSync(path.join(folder, `xeon-avx512-amx-${precision}-1-thread.json`), 'utf8'));
  const [fp32, bf16] = [read('fp32'), read('bf16')];
  const rows = models.flatMap(model =>
    batches.map(batch => {
      const find = (report, runner, precision) =>
        report.results.find(
          result =>
            result.stage === 'engine' &&
            result.model === model &&
            result.batch === batch &&
            result.runner === runner &&
            result.precision === precision,
        );
      const rate = result => {
        const {median} = result.imagesPerSecond;
        return median.toFixed(median < 100 ? 1 : 0);
      };
      const times = peer => `${peer.ratio.median.toFixed(2)} x`;
      const onnx = find(fp32, 'onnxruntime-node', 'fp32');
      const torch = find(bf16, 'pytorch-eager', 'bf16');
      const own = [rate(find(fp32, 'repvgg', 'fp32')), rate(onnx), times(onnx)];
      const reduced = [rate(find(bf16, 'repvgg', 'bf16')), rate(torch), times(torch)];
      return [model.replace('RepVGG-', ''), batch, ...own, ...reduced];
    }),
  );
  const head = [
    'model',
    'batch',
    'repvgg fp32',
    'onnxruntime-node fp32',
    'ratio',
    'repvgg bf16',
    'PyTorch bf16',
    'ratio',
  ];
  const line = cells => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** Replaces the table between its markers. */
export function withSpeedTable(readme) {
  const [begin, end] = ['<!-- speed table -->\n', '<!-- end of the speed table -->'];
  const [before, rest] = readme.split(begin);
  return `${before}${begin}\n${speedTable()}\n\n${end}${rest.split(end)[1]}`;
}
