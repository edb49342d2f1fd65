import {readdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {architectureByName, architectureNames} from '../../ts/architecture.ts';
import {findModels} from '../../ts/bench/models.ts';
import {writeOnnxOf} from '../../ts/bench/peer.ts';
import {transformersPeer} from '../../ts/bench/peer_transformers.ts';
import type {BenchReport} from '../../ts/bench/results.ts';
import {engineInput, openDecode, openEngine, openPipeline} from '../../ts/bench/stages.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {digits} from '../../ts/digits.ts';
import {exportOnnx} from '../../ts/export.ts';
import {RepVGG} from '../../ts/model.ts';
import {chooseDevice} from '../../ts/native/device.ts';
import {layerTable} from '../../ts/statistics.ts';
import {repvgg, temporaryFolder} from '../cli/run.ts';
import {checkpoint} from '../fixtures.ts';

const asTheyAre = (): undefined => undefined;

async function caseOf(name: string, form: 'deploy' | 'train' = 'deploy', crop?: number) {
  const [model] = await findModels([name], form, () =>
    crop === undefined ? undefined : {crop, resize: crop},
  );
  return {...chooseDevice('cpu', 'fp32'), model: model!, form, batch: 2, threads: 1};
}

test('models are variants and checkpoints, each once', async t => {
  const models = await findModels(['A0', 'digits', 'RepVGG-A0', 'digits'], 'deploy', asTheyAre);
  t.deepEqual(
    models.map(({name, preprocessing: {crop}, file}) => [name, crop, file]),
    [
      ['RepVGG-A0', 224, null],
      ['digits', digits.preprocessing.crop, digits.checkpoint],
    ],
  );
  const all = await findModels(['digits', 'all', 'A0'], 'deploy', asTheyAre);
  t.deepEqual(
    all.map(({name}) => name),
    ['digits', ...architectureNames.map(name => architectureByName(name).name)],
  );
});

test('a size that is chosen is that of the input, and one that a network has anyway changes nothing', async t => {
  const sizes = (model: string): {crop: number; resize: number} =>
    model === 'digits' ? {crop: 48, resize: 48} : {crop: 224, resize: 224};
  const [own, a0] = await findModels(['digits', 'A0'], 'deploy', sizes);
  t.deepEqual(own!.preprocessing, {...digits.preprocessing, resize: 48, crop: 48});
  t.is(a0!.preprocessing.resize, 256);
});

for (const [what, name, form] of [
  ['as trained', 'squeeze-excite.zip.pth', 'train'],
  ['fused', 'squeeze-excite.zip.pth', 'deploy'],
  ['that is a backbone', 'backbone.zip.pth', 'deploy'],
] as const) {
  test(`a checkpoint ${what} is measured with its own weights`, async t => {
    const network = await caseOf(checkpoint(name), form, 64);
    const engine = await openEngine(network);
    const {pixels, count} = engineInput(network);
    const side = network.model.preprocessing.crop;
    t.is(pixels.length, count * side * side * 3);
    const images = Array.from({length: count}, (_, i) => ({
      data: pixels.slice(i * side * side * 3, (i + 1) * side * side * 3),
      ...{width: side, height: side, channels: 3 as const},
    }));
    await using model = await RepVGG.load(checkpoint(name), {
      ...{form, device: 'cpu', precision: 'fp32', threads: 1},
      preprocessing: {...network.model.preprocessing, resize: 0},
    });
    const expected = model.labels.length > 0 ? await model.logits(images) : await model.embed(images);
    const output = await engine.output();
    await engine.close();
    t.is(output.length, expected[0]!.length * count);
    const largest = Math.max(...output.map(Math.abs));
    for (const [i, value] of expected.flatMap(row => [...row]).entries())
      t.true(Math.abs(output[i]! - value) < 1e-4 * largest, `${i}: ${output[i]} and ${value}`);
  });
}

test('peers are given the weights and the size of a checkpoint', async t => {
  const folder = await temporaryFolder(t);
  const [path, wanted] = [join(folder, 'a.onnx'), join(folder, 'b.pth')];
  await writeOnnxOf(await caseOf('digits', 'deploy', 48), path, 'fp32');
  await convertCheckpoint('digits', wanted);
  await using written = await openCheckpoint(path);
  await using converted = await openCheckpoint(wanted);
  t.is(written.preprocessing?.crop, 48);
  t.is(written.tensors.size, converted.tensors.size);
  for (const [name, tensor] of converted.tensors)
    t.deepEqual(await written.tensors.get(name)!.read(), await tensor.read(), name);
});

test('a backbone runs from JPEG bytes to features, and beside transformers not at all', async t => {
  const folder = await temporaryFolder(t);
  const network = await caseOf(checkpoint('backbone.zip.pth'), 'deploy', 64);
  const pipeline = await openPipeline(network, folder);
  t.true((await pipeline.sample(0)) > 0);
  await pipeline.close();
  const peer = transformersPeer({} as never, 'cpu', folder, 1);
  t.is(await peer.open(network, null as never), 'it runs only networks with a classifier.');
  t.deepEqual(await readdir(folder), []);
});

test('images are decoded for a network that does not resize them', async t => {
  const decode = await openDecode({...digits.preprocessing, resize: 0});
  t.true((await decode.sample(0)) > 0);
});

test('a checkpoint has results under the name that it was given', async t => {
  const folder = await temporaryFolder(t);
  await exportOnnx('digits', join(folder, 'own.onnx'), {preprocessing: {crop: 48, resize: 48}});
  const args = ['bench', '--models', 'own.onnx,digits', '--batch', '2', '--stage', 'engine,pipeline'];
  const {code, stdout, stderr} = await repvgg(
    [...args, '--precision', 'fp32', '--threads', '1', '--seconds', '0.05', '--layers', '--json'],
    {cwd: folder},
  );
  t.is(code, 0, stderr);
  const report = JSON.parse(stdout) as BenchReport;
  t.deepEqual(
    report.results.map(({model, stage, crop}) => `${model} ${stage} ${crop}`),
    ['own.onnx engine 48', 'own.onnx pipeline 48', 'digits engine 32', 'digits pipeline 32'],
  );
  t.deepEqual(report.skipped, []);
  const {effectiveTflops, imagesPerSecond} = report.results[0]!;
  const [own] = await findModels(['digits'], 'deploy', asTheyAre);
  const {total} = layerTable(own!.architecture, {height: 48, width: 48});
  t.true(Math.abs((effectiveTflops! * 1e12) / imagesPerSecond.median / (2 * total.macs) - 1) < 1e-9);
  t.deepEqual(
    report.layers!.map(({model, layers}) => [model, layers[0]!.height]),
    [
      ['own.onnx', 24],
      ['digits', 16],
    ],
  );
});

test('--check measures a checkpoint again, in the size of that time', async t => {
  const folder = await temporaryFolder(t);
  const args = ['bench', '--models', 'digits', '--crop', '48', '--batch', '2', '--stage', 'engine'];
  const measured = await repvgg(
    [...args, '--precision', 'fp32', '--threads', '1', '--seconds', '0.05', '--json'],
    {cwd: folder},
  );
  t.is(measured.code, 0, measured.stderr);
  const before = JSON.parse(measured.stdout) as BenchReport;
  t.is(before.results[0]!.crop, 48);
  // A machine that became faster passes, whatever else it does meanwhile.
  const {runs} = before.results[0]!.imagesPerSecond;
  const least = {min: 1e-9, median: 1e-9, max: 1e-9, runs};
  const easy = {...before.results[0]!, cpuTimeFraction: least, instructionsPerImage: null};
  await writeFile(join(folder, 'f.json'), JSON.stringify({...before, results: [easy]}));
  const {code, stdout, stderr} = await repvgg(['bench', '--check', 'f.json', '--seconds', '0.05'], {
    cwd: folder,
  });
  t.is(code, 0, `${stdout}${stderr}`);
  t.regex(stdout, /^repvgg digits 48 pixels deploy engine cpu fp32 batch 2 1 threads .* ok$/m);
});

test('what cannot be measured is an error before anything is', async t => {
  const folder = await temporaryFolder(t);
  const fused = checkpoint('squeeze-excite.deploy.zip.pth');
  for (const [args, exit, message] of [
    [['--models', 'A0,none.pth'], 3, /none\.pth: no such file.*\(ERR_FILE_NOT_FOUND\)/],
    [['--models', 'A9'], 2, /A9.*\(ERR_ARCHITECTURE_UNKNOWN\)/],
    [['--models', fused, '--form', 'train'], 2, /already fused\).*\(ERR_INVALID_ARGUMENT\)/],
    [['--models', 'A0', '--crop', '0'], 2, /\(ERR_INVALID_ARGUMENT\)/],
  ] as const) {
    const {code, stderr} = await repvgg(['bench', ...args], {cwd: folder});
    t.is(code, exit, stderr);
    t.regex(stderr, message);
    t.deepEqual(await readdir(folder), []);
  }
});
