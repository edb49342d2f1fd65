// Whole networks on the GPU against the CPU's fp32: logits of seeded A0, A2 and B1g4, D2se and the train form of A0, in
// every precision. One line of JSON each, as repvgg_gpu_tests prints them; exit code 1 if one failed, 2 without a GPU.
import {architectureByName, blockShapes} from '../../dist/architecture.js';
import {chooseDevice, whyNoCuda} from '../../dist/device.js';
import {native} from '../../dist/native.js';
import {toNativeShape} from '../../dist/native_network.js';

const problem = whyNoCuda(native().cudaInfo());
if (problem !== null) {
  console.log(JSON.stringify({name: 'device', ok: false, ms: 0, detail: `no CUDA device: ${problem}`}));
  process.exit(2);
}

let state = 1;
const uniform = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const values = (count, deviation, mean = 0) =>
  Float32Array.from({length: count}, () => mean + (uniform() - 0.5) * Math.sqrt(12) * deviation);

const norm = channels => ({
  gamma: values(channels, 0.1, 0.8),
  beta: values(channels, 0.1),
  mean: values(channels, 0.1),
  variance: values(channels, 0.2, 1),
  eps: 1e-5,
});

function parameters(shape, form, gated) {
  const {inChannels, outChannels, groups, identity, squeezeChannels} = shape;
  const fan = inChannels / groups;
  const weight = values(outChannels * fan * 9, Math.sqrt(2 / 9 / fan));
  const squeezeExcite = gated
    ? {
        downWeight: values(squeezeChannels * outChannels, Math.sqrt(1 / outChannels)),
        downBias: values(squeezeChannels, 0.1),
        upWeight: values(squeezeChannels * outChannels, Math.sqrt(1 / squeezeChannels)),
        upBias: values(outChannels, 0.5, 1),
      }
    : null;
  if (form === 'deploy') return {weight, bias: values(outChannels, 0.1), squeezeExcite};
  return {
    dense: {weight, bias: null, batchNorm: norm(outChannels)},
    pointwise: {
      weight: values(outChannels * fan, Math.sqrt(1 / fan)),
      bias: null,
      batchNorm: norm(outChannels),
    },
    identity: identity ? norm(outChannels) : null,
    squeezeExcite,
  };
}

async function logits(architecture, form, options, pixels, count, parts = [count]) {
  state = 7;
  const shape = toNativeShape(architecture, form, {
    crop: 224,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  });
  const network = new (native().Network)(shape, options);
  const shapes = blockShapes(architecture);
  for (const [i, block] of shapes.entries()) {
    await network.setBlock(i, parameters(block, form, architecture.squeezeExcite !== null));
  }
  const channels = shapes.at(-1).outChannels;
  await network.setLinear({
    weight: values(1000 * channels, Math.sqrt(1 / channels)),
    bias: values(1000, 0.1),
  });
  const out = [];
  let first = 0;
  for (const part of parts) {
    const own = pixels.subarray(first * 224 * 224 * 3, (first + part) * 224 * 224 * 3);
    out.push(...(await network.run({pixels: own, count: part}, 'logits', new Uint8Array(1))));
    first += part;
  }
  const layers = await network.describe();
  await network.dispose();
  return {out, layers};
}

const bounds = {fp32: 1e-5, tf32: 5e-3, fp16: 5e-3, bf16: 2e-2};
const count = 9;
const pixels = new Uint8Array(count * 224 * 224 * 3).map(() => uniform() * 256);
let failed = false;
const cases = [
  ['A0', 'deploy'],
  ['A2', 'deploy'],
  ['B1g4', 'deploy'],
  ['D2se', 'deploy'],
  ['A0', 'train'],
];
for (const [name, form] of cases) {
  const architecture = architectureByName(name);
  const {out: expected} = await logits(
    architecture,
    form,
    {backend: 'cpu', precision: 'fp32', batchSize: count},
    pixels,
    count,
  );
  for (const precision of Object.keys(bounds)) {
    const start = performance.now();
    const result = {name: `network: ${name}, ${form} form, ${precision}`, ok: false, ms: 0, detail: ''};
    try {
      const options = {backend: chooseDevice('cuda', precision).device.name, precision, batchSize: 4};
      const {out, layers} = await logits(architecture, form, options, pixels, count);
      const split = await logits(architecture, form, options, pixels, count, [1, 3, 5]);
      let error = 0;
      let square = 0;
      for (const [i, value] of expected.entries()) {
        error += (out[i] - value) ** 2;
        square += value ** 2;
      }
      const relative = Math.sqrt(error / square);
      // Another load may choose other algorithms only if it measures again; the cache says it does not.
      const same = out.every((value, i) => value === split.out[i]);
      // D2se's gates amplify rounding errors.
      const bound = bounds[precision] * (architecture.squeezeExcite ? 4 : 1);
      result.ok = relative <= bound && same;
      result.detail = `relL2 ${relative.toExponential(1)} (at most ${bound})${same ? '' : ', depends on batches'}`;
      result.layers = JSON.parse(layers);
    } catch (error) {
      result.ok = error.code === 'ERR_PRECISION_UNSUPPORTED';
      result.detail = `${error.code}: ${error.message}`;
    }
    result.ms = Math.round(performance.now() - start);
    failed ||= !result.ok;
    console.log(JSON.stringify(result));
  }
}
process.exit(failed ? 1 : 0);
