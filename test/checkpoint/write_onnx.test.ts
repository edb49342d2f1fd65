import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import * as onnxruntime from 'onnxruntime-web';
import {type Architecture, defineArchitecture} from '../../ts/architecture.ts';
import {randomNetwork, randomPixels} from '../../ts/bench/workload.ts';
import {writeOnnx} from '../../ts/checkpoint/onnx/write_onnx.ts';
import {digits} from '../../ts/digits.ts';
import {exportOnnx} from '../../ts/export.ts';
import {setParameters} from '../../ts/loading/load_network.ts';
import {RepVGG} from '../../ts/model.ts';
import {native} from '../../ts/native/addon.ts';
import {toNativeShape} from '../../ts/native/native_network.ts';
import {toHalf} from '../../ts/support/half.ts';
import {temporaryFolder} from '../cli/run.ts';
import {relativeL2} from '../reference64.ts';

const small = {
  numBlocks: [1, 2, 2, 1],
  widthMultiplier: [0.25, 0.25, 0.25, 0.25],
  numClasses: 10,
} as const;
const networks: Record<string, Architecture> = {
  'a grouped network': defineArchitecture({...small, groups: 4}),
  'squeeze-and-excite before the ReLU': defineArchitecture({
    ...small,
    squeezeExcite: {position: 'before-relu', reduction: 16},
  }),
  'squeeze-and-excite after the ReLU': defineArchitecture({
    ...small,
    squeezeExcite: {position: 'after-relu', reduction: 4},
  }),
  'a backbone': defineArchitecture({...small, numClasses: 0}),
};
const [size, images] = [48, 2];

/** The fields of a protocol buffer: number and, of those that have a length, bytes. */
function* fields(message: Buffer): Generator<[number, Buffer]> {
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (; ; scale *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const number = varint();
    const length = (tag & 7) === 2 ? number : 0;
    yield [tag >> 3, message.subarray(at, at + length)];
    at += length;
  }
}

const all = (message: Buffer, number: number): Buffer[] =>
  [...fields(message)].filter(([field]) => field === number).map(([, bytes]) => bytes);

test('the graph is a chain of convolutions, and the weights are those of the network', async t => {
  const path = join(await temporaryFolder(t), 'model.onnx');
  const network = randomNetwork(networks['a grouped network']!, 'deploy');
  await writeOnnx(path, network, size);
  const [graph] = all(await readFile(path), 7);
  const types = all(graph!, 1).map(node => String(all(node, 4)[0]));
  const blocks = Array.from({length: 7}, () => ['Conv', 'Relu']).flat();
  t.deepEqual(types, [...blocks, 'GlobalAveragePool', 'Flatten', 'Gemm']);
  const tensors = new Map(all(graph!, 5).map(tensor => [String(all(tensor, 8)[0]), all(tensor, 9)[0]!]));
  t.is(tensors.size, 2 * 7 + 2);
  for await (const block of network.blocks('deploy')) {
    if (block.form !== 'deploy' || block.shape.index !== 3) continue;
    t.deepEqual(tensors.get('stage2.1.weight'), Buffer.from(block.weight.buffer));
    t.deepEqual(tensors.get('stage2.1.bias'), Buffer.from(block.bias.buffer));
  }
});

test('fp16: halves of the weights between float32 at both ends', async t => {
  const folder = await temporaryFolder(t);
  const network = randomNetwork(networks['a grouped network']!, 'deploy');
  const path = join(folder, 'half.onnx');
  await writeOnnx(path, network, size, {precision: 'fp16'});
  const [graph] = all(await readFile(path), 7);
  const types = all(graph!, 1).map(node => String(all(node, 4)[0]));
  t.deepEqual([types[0], types.at(-1)], ['Cast', 'Cast']);
  t.is(types.filter(type => type === 'Cast').length, 2);
  const tensors = new Map(all(graph!, 5).map(tensor => [String(all(tensor, 8)[0]), all(tensor, 9)[0]!]));
  for await (const block of network.blocks('deploy')) {
    if (block.form !== 'deploy' || block.shape.index !== 3) continue;
    const halves = await toHalf(block.weight);
    t.deepEqual(tensors.get('stage2.1.weight'), Buffer.from(halves.buffer));
  }
});

test('halves are those of IEEE 754: to the nearest, ties to even, subnormals and the largest', async t => {
  const cases: [number, number][] = [
    [0, 0],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519, 0x7bff],
    [65520, 0x7c00],
    [1e9, 0x7c00],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 + 2 ** -11 + 2 ** -20, 0x3c01],
    [2 - 2 ** -12, 0x4000],
    [2 ** -14, 0x0400],
    [2 ** -24, 1],
    [2 ** -25, 0],
    [3 * 2 ** -25, 2],
    [2 ** -25 + 2 ** -40, 1],
    [2 ** -14 - 2 ** -25, 0x0400],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
    [Number.NaN, 0x7e00],
  ];
  const halves = await toHalf(Float32Array.from(cases, ([value]) => value));
  for (const [i, [value, bits]] of cases.entries()) t.is(halves[i], bits, String(value));
});

test('a weight beyond fp16 is an error that names it, and the file that was there stays', async t => {
  const path = join(await temporaryFolder(t), 'model.onnx');
  await writeFile(path, 'before');
  const network = randomNetwork(networks['a grouped network']!, 'deploy');
  const large = {
    ...network,
    linear: async () => ({weight: new Float32Array(10 * 128).fill(1e5), bias: new Float32Array(10)}),
  };
  await t.throwsAsync(writeOnnx(path, large, size, {precision: 'fp16'}), {
    code: 'ERR_CHECKPOINT_VALUE',
    message: /65504 for fp16 in tensor "linear.weight" but received 100000/,
  });
  t.is(await readFile(path, 'utf8'), 'before');
});

test('export: the signature, the metadata, and pixels as input where asked', async t => {
  const path = join(await temporaryFolder(t), 'digits.onnx');
  const exported = await exportOnnx('digits', path, {uint8: true});
  t.like(exported, {
    precision: 'fp32',
    input: {name: 'input', type: 'uint8', shape: [32, 32, 3]},
    output: {name: 'logits', type: 'float32', shape: [10]},
  });
  const model = await readFile(path);
  t.is(model.length, exported.bytes);
  const metadata = Object.fromEntries(
    all(model, 14).map(entry => [String(all(entry, 1)[0]), JSON.parse(String(all(entry, 2)[0]))]),
  );
  t.deepEqual(metadata, {
    'repvgg.architecture': exported.architecture,
    'repvgg.preprocessing': digits.preprocessing,
  });
  const [graph] = all(model, 7);
  const types = all(graph!, 1).map(node => String(all(node, 4)[0]));
  t.deepEqual(types.slice(0, 6), ['Transpose', 'Cast', 'Sub', 'Div', 'Conv', 'Relu']);
  const tensors = new Map(all(graph!, 5).map(tensor => [String(all(tensor, 8)[0]), all(tensor, 9)[0]!]));
  t.deepEqual(tensors.get('input.mean'), Buffer.from(new Float32Array(3).fill(127.5).buffer));
  for (const options of [{precision: 'int8'}, {uint8: 1}, {preprocessing: {crop: 0}}] as object[])
    await t.throwsAsync(exportOnnx('digits', path, options), {code: 'ERR_INVALID_ARGUMENT'});
});

// That for browsers: the same graphs and arithmetic as onnxruntime-node, which downloads CUDA libraries when it is installed.
onnxruntime.env.wasm.numThreads = 1;
for (const [name, architecture] of Object.entries(networks)) {
  test(`onnxruntime computes the same: ${name}`, async t => {
    const path = join(await temporaryFolder(t), 'model.onnx');
    const network = randomNetwork(architecture, 'deploy');
    const options = {backend: 'cpu', precision: 'fp32', batchSize: images, threads: 1} as const;
    // An input of v / 255 on both sides.
    const shape = toNativeShape(architecture, 'deploy', {crop: size, mean: [0, 0, 0], std: [1, 1, 1]});
    const own = new (native().Network)(shape, options);
    await setParameters(own, network, 'deploy');
    const pixels = randomPixels(images, size);
    const output = architecture.numClasses > 0 ? 'logits' : 'embedding';
    const expected = await own.run({pixels, count: images}, output, new Uint8Array(1));
    const area = size * size;
    const input = Float32Array.from({length: pixels.length}, (_, i) => {
      const [image, channel, at] = [Math.floor(i / (3 * area)), Math.floor(i / area) % 3, i % area];
      return pixels[(image * area + at) * 3 + channel]! / 255;
    });
    const tensor = new onnxruntime.Tensor('float32', input, [images, 3, size, size]);
    t.true(expected.some(value => Math.abs(value) > 0.01));
    for (const [precision, most] of [
      ['fp32', 1e-5],
      ['fp16', 2e-3],
    ] as const) {
      await writeOnnx(path, network, size, {precision});
      const session = await onnxruntime.InferenceSession.create(path);
      const outputs = await session.run({input: tensor});
      const data = outputs[output === 'logits' ? 'logits' : 'features']!.data as Float32Array;
      await session.release();
      t.log(`${precision}: relative L2 ${relativeL2(data, expected)}`);
      t.true(relativeL2(data, expected) < most, `${precision}: ${relativeL2(data, expected)}`);
    }
    await own.dispose();
  });
}

test('onnxruntime gives the logits of an exported checkpoint, of pixels too', async t => {
  const path = join(await temporaryFolder(t), 'digits.onnx');
  await using model = await RepVGG.load('digits', {precision: 'fp32'});
  const {crop, mean, std} = model.preprocessing;
  const pixels = randomPixels(1, crop);
  const [expected] = await model.logits([{data: pixels, width: crop, height: crop, channels: 3}]);
  const planes = Float32Array.from({length: pixels.length}, (_, i) => {
    const [channel, at] = [Math.floor(i / crop ** 2), i % crop ** 2];
    return (pixels[at * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
  });
  const inputs = {
    float32: new onnxruntime.Tensor('float32', planes, [1, 3, crop, crop]),
    uint8: new onnxruntime.Tensor('uint8', pixels, [1, crop, crop, 3]),
  };
  for (const [precision, most] of [
    ['fp32', 1e-5],
    ['fp16', 2e-3],
  ] as const) {
    for (const [type, input] of Object.entries(inputs)) {
      await exportOnnx('digits', path, {precision, uint8: type === 'uint8'});
      const session = await onnxruntime.InferenceSession.create(path);
      const data = (await session.run({input})).logits!.data as Float32Array;
      await session.release();
      const error = relativeL2(data, expected!);
      t.log(`${precision}, ${type}: relative L2 ${error}`);
      t.true(error < most, `${precision}, ${type}: relative L2 ${error}`);
    }
  }
});

test('an exported file says how images become its input', async t => {
  const path = join(await temporaryFolder(t), 'digits.onnx');
  await exportOnnx('digits', path);
  await using digits = await RepVGG.load('digits');
  await using model = await RepVGG.load(path, {labels: digits.labels.map(({label}) => label)});
  t.deepEqual(model.preprocessing, digits.preprocessing);
  const again = join(await temporaryFolder(t), 'again.onnx');
  t.deepEqual((await exportOnnx(path, again)).preprocessing, digits.preprocessing);

  // Of the same length, so that the message around it stays whole.
  const bytes = await readFile(path);
  bytes.write('"crop":-2', bytes.indexOf('"crop":32'));
  await writeFile(path, bytes);
  await t.throwsAsync(RepVGG.load(path), {code: 'ERR_CHECKPOINT_CORRUPT', message: /repvgg\.preprocessing/});
});
