// Predicts images per second on GPUs from the layer tables, and writes the table into docs/performance.md:
//
//   npm run build:ts && node scripts/predict-gpus.mjs [--check]
//
// --check only compares. These are predictions; `repvgg bench --device cuda` measures.
//
// The model: the time of a layer is that of its multiplications or its memory traffic, whichever is longer, plus a launch. Feature maps are
// written and read once, weights read once per batch. In fp16 all layers run directly on tensor cores. In fp32 a layer of stride 1 uses the
// fastest of direct, F(2x2) and F(4x4), the last of which writes and reads its transforms; networks with squeeze-and-excite run directly.
import {readFileSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {architectureByName, architectureNames} from '../dist/architecture.js';
import {defaultPreprocessing} from '../dist/preprocessing.js';
import {layerTable} from '../dist/statistics.js';

const batch = 128;
/** Figures from the vendor's data sheets: multiply-add TFLOP/s (tensor cores with fp32 accumulation) and GB/s. */
const gpus = [
  {name: 'V100', fp32: 15.7, fp16: 125, bandwidth: 900},
  {name: 'RTX 3090', fp32: 35.6, fp16: 71, bandwidth: 936},
  {name: 'H200', fp32: 66.9, fp16: 989, bandwidth: 4800},
];
/** The fraction of these that the kernels are expected to reach. */
const share = {fp32: 0.65, fp16: 0.7, bandwidth: 0.85};
const launchSeconds = 2e-6;

const tiles = ({height, width}, side) => Math.ceil(height / side) * Math.ceil(width / side);

/** Seconds per batch. With `shares` of 1, the lower bound for any kernel. */
function layerSeconds({shape, height, width, macs, activations, deployParameters}, gpu, precision, shares) {
  const {inChannels, outChannels, groups, stride, squeezeChannels} = shape;
  const bytes = precision === 'fp32' ? 4 : 2;
  const inputBytes = inChannels === 3 ? 3 : inChannels * bytes; // Images are bytes.
  const traffic = batch * (inputBytes * height * width * stride ** 2 + activations * bytes);
  const seconds = (products, weights, moved, kernels) =>
    Math.max(
      (2 * products) / (gpu[precision] * 1e12 * shares[precision]),
      (moved + deployParameters * weights * bytes) / (gpu.bandwidth * 1e9 * shares.bandwidth),
    ) +
    kernels * shares.launch;
  const direct = seconds(batch * macs, 1, traffic, 1);
  if (precision !== 'fp32' || stride !== 1 || squeezeChannels > 0) return direct;
  const pairs = (inChannels / groups) * outChannels;
  const f2 = seconds(batch * 16 * pairs * tiles({height, width}, 2), 16 / 9, traffic, 1);
  const positions = batch * 36 * tiles({height, width}, 4);
  // Its three kernels run one after the other, so the time of the transforms is added.
  const transforms =
    (traffic + positions * (inChannels + outChannels) * bytes) / (gpu.bandwidth * 1e9 * shares.bandwidth);
  const f4 = seconds(positions * pairs, 4, positions * (inChannels + outChannels) * bytes, 3) + transforms;
  return Math.min(direct, f2, f4);
}

function imagesPerSecond(name, gpu, precision, shares) {
  const architecture = architectureByName(name);
  const {crop} = defaultPreprocessing(architecture);
  const {layers} = layerTable(architecture, {height: crop, width: crop});
  return batch / layers.reduce((sum, layer) => sum + layerSeconds(layer, gpu, precision, shares), 0);
}

const bound = {fp32: 1, fp16: 1, bandwidth: 1, launch: 0};
const expected = {...share, launch: launchSeconds};
const rounded = value => Number(value.toPrecision(2)).toLocaleString('en-US');
const columns = gpus.flatMap(gpu => ['fp32', 'fp16'].map(precision => ({gpu, precision})));
const table = [
  `| | ${columns.map(({gpu, precision}) => `${gpu.name} ${precision}`).join(' | ')} |`,
  `|---|${columns.map(() => '---').join('|')}|`,
  ...architectureNames.map(name => {
    const cells = columns.map(
      ({gpu, precision}) =>
        `${rounded(imagesPerSecond(name, gpu, precision, expected))} (${rounded(imagesPerSecond(name, gpu, precision, bound))})`,
    );
    return `| ${name.replace('RepVGG-', '')} | ${cells.join(' | ')} |`;
  }),
].join('\n');

const file = path.join(import.meta.dirname, '..', 'docs', 'performance.md');
const [begin, end] = ['<!-- predictions -->', '<!-- end of predictions -->'];
const text = readFileSync(file, 'utf8');
const [before, after] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
const updated = `${text.slice(0, before)}\n\n${table}\n\n${text.slice(after)}`;
if (!process.argv.includes('--check')) {
  writeFileSync(file, updated);
} else if (updated !== text) {
  console.error('The predictions in docs/performance.md are out of date: run node scripts/predict-gpus.mjs');
  process.exit(1);
}
