// node networks.mjs [--list] [--from NAME] [--images 9] [part of a name ...]: whole networks on the GPU against the CPU's fp32.
// Logits of seeded A0, A2 and B1g4, D2se and the train form of A0 in every precision, and their ranking against the host's:
// one line of JSON each. Exit code 1 if one failed. With --device it says only whether there is a GPU, and ends with exit
// code 2 if not.
import {parseArgs} from 'node:util';
import {architectureByName, blockShapes} from '../../dist/architecture.js';
import {checkFp8} from '../../dist/loading/calibration.js';
import {native} from '../../dist/native/addon.js';
import {chooseDevice, whyNoCuda} from '../../dist/native/device.js';
import {toNativeShape} from '../../dist/native/native_network.js';

const {values: given, positionals} = parseArgs({
  options: {
    device: {type: 'boolean'},
    list: {type: 'boolean'},
    from: {type: 'string'},
    images: {type: 'string', default: '9'},
  },
  allowPositionals: true,
});
if (given.device) {
  const info = native().cudaInfo();
  const problem = whyNoCuda(info);
  const detail = problem === null ? info.devices[0].name : `no CUDA device: ${problem}`;
  console.log(JSON.stringify({name: 'device', ok: problem === null, ms: 0, detail}));
  process.exit(problem === null ? 0 : 2);
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
  // Gates are 0.73 on average. Maps that faded from layer to layer would leave biases only, the same for all images.
  const gate = gated ? 0.73 : 1;
  const weight = values(outChannels * fan * 9, Math.sqrt(2 / 9 / fan) / gate);
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

/** Of every block and the classifier: the same ones whenever they are made. */
function makeNetwork(name, form) {
  state = 7;
  const architecture = architectureByName(name);
  const shapes = blockShapes(architecture);
  const blocks = shapes.map(block => parameters(block, form, architecture.squeezeExcite !== null));
  const channels = shapes.at(-1).outChannels;
  const linear = {weight: values(1000 * channels, Math.sqrt(1 / channels)), bias: values(1000, 0.1)};
  return {name, form, architecture, blocks, linear};
}

/** Of `parts` images after each other; `top` are the `k` likeliest classes of all images together. */
async function run({architecture, form, blocks, linear}, options, parts, output = 'logits', k = 0) {
  const shape = {
    ...toNativeShape(architecture, form, {
      crop: 224,
      mean: [0.485, 0.456, 0.406],
      std: [0.229, 0.224, 0.225],
    }),
    ranges,
  };
  const network = new (native().Network)(shape, options);
  for (const [i, block] of blocks.entries()) await network.setBlock(i, block);
  await network.setLinear(linear);
  const out = [];
  let first = 0;
  for (const count of parts) {
    const own = pixels.subarray(first * imageSize, (first + count) * imageSize);
    out.push(...(await network.run({pixels: own, count}, output, new Uint8Array(1))));
    first += count;
  }
  const top = k > 0 ? await network.runTopK({pixels, count}, k, new Uint8Array(1)) : null;
  const layers = JSON.parse(await network.describe());
  await network.dispose();
  return {out, top, layers};
}

/** Of fp32; smaller numbers have fewer bits. */
const leastNormal = 2 ** -126;

/** Whether these are the likeliest `k` classes of each image, with their softmax probabilities. */
function ranksRight({indices, scores}, logits, k) {
  for (let image = 0; image < count; image++) {
    const own = logits.slice(image * 1000, (image + 1) * 1000);
    const order = [...own.keys()].sort((a, b) => own[b] - own[a] || a - b);
    const exp = index => Math.exp(own[index] - own[order[0]]);
    const sum = order.reduce((total, index) => total + exp(index), 0);
    for (let i = 0; i < k; i++) {
      const expected = exp(order[i]) / sum;
      if (indices[image * k + i] !== order[i]) return false;
      if (!(Math.abs(scores[image * k + i] - expected) <= 5e-6 * expected + leastNormal)) return false;
    }
  }
  return true;
}

// Three to ten times what these networks have in the emulator. Of fp8 it is what is left beside the CPU's simulation, and
// not twice that.
const bounds = {fp32: 5e-6, tf32: 2e-3, fp16: 2e-3, bf16: 1.2e-2, fp8: 4e-2};
const count = Number(given.images);
const cpu = {backend: 'cpu', precision: 'fp32', batchSize: count};
const imageSize = 224 * 224 * 3;
// Each image is brighter than the one before: noise alone would give much the same logits for all of them.
const pixels = new Uint8Array(count * imageSize).map(
  (_, i) => (uniform() * 256 * (Math.floor(i / imageSize) + 1)) / count,
);
// What is fastest, and of the algorithms that may not be fastest anywhere those with a form of their own.
const networks = [
  ['A0', 'deploy', ''],
  ['A2', 'deploy', ''],
  ['A2', 'deploy', 'f2'],
  ['A2', 'deploy', 'f4'],
  ['A2', 'deploy', 'fused'],
  ['B1g4', 'deploy', ''],
  ['A0', 'train', ''],
  ['D2se', 'deploy', ''],
];
const cases = networks
  .flatMap(([name, form, algorithm]) =>
    Object.keys(bounds).map(precision => ({
      title: `network: ${name}, ${form} form, ${algorithm && `${algorithm}, `}${precision}`,
      name,
      form,
      algorithm,
      precision,
    })),
  )
  .filter(({title}) => positionals.length === 0 || positionals.some(part => title.includes(part)));
if (given.list) {
  for (const {title} of cases) console.log(JSON.stringify(title));
  process.exit(0);
}

let network;
let expected;
let ranges;
let failed = false;
const first = given.from === undefined ? 0 : cases.findIndex(({title}) => title === given.from);
for (const {title, name, form, algorithm, precision} of cases.slice(first)) {
  const start = performance.now();
  if (network?.name !== name || network.form !== form) {
    network = makeNetwork(name, form);
    ranges = undefined;
    ({out: expected} = await run(network, cpu, [count]));
  }
  const result = {name: title, ok: false, ms: 0, detail: ''};
  try {
    const {name: backend} = chooseDevice('cuda', precision, form).device;
    const options = {backend, precision, batchSize: 4, ...(algorithm && {algorithm})};
    let reference = expected;
    ranges = undefined;
    if (precision === 'fp8') {
      checkFp8(network.architecture);
      ({out: ranges} = await run(network, cpu, [count], 'ranges'));
      ranges = Float32Array.from(ranges);
      ({out: reference} = await run(network, {...cpu, precision}, [count]));
    }
    // By itself no kernel hung or broke the device: suspected first is what is new here.
    if (process.env.REPVGG_OVERLAP !== 'off') console.log(JSON.stringify({running: 'overlap'}));
    const {out, top, layers} = await run(network, options, [count], 'logits', 5);
    const split = await run(network, options, [Math.ceil(count / 3), Math.floor((2 * count) / 3)]);
    let error = 0;
    let square = 0;
    for (const [i, value] of reference.entries()) {
      error += (out[i] - value) ** 2;
      square += value ** 2;
    }
    const relative = Math.sqrt(error / square);
    // Another load may choose other algorithms only if it measures again; the cache says it does not.
    const same = out.every((value, i) => value === split.out[i]);
    const bound = bounds[precision];
    const ranked = ranksRight(top, out, 5);
    result.ok = relative <= bound && same && ranked;
    const problems = `${same ? '' : ', depends on batches'}${ranked ? '' : ', classes wrongly ranked'}`;
    result.detail = `relL2 ${relative.toExponential(1)} (at most ${bound})${problems}`;
    result.layers = layers;
  } catch (error) {
    result.ok = error.code === 'ERR_PRECISION_UNSUPPORTED';
    result.detail = `${error.code}: ${error.message}`;
    if (error.code === 'ERR_DEVICE_LOST') {
      // Whatever this process asks of the device would fail from here on.
      console.log(JSON.stringify({fatal: error.message}));
      process.exit(3);
    }
  }
  result.ms = Math.round(performance.now() - start);
  failed ||= !result.ok;
  console.log(JSON.stringify(result));
}
process.exit(failed ? 1 : 0);
