import {fileURLToPath} from 'node:url';
import test from 'ava';
import {picture} from '../../ts/cli/picture.ts';
import {checkpoint} from '../fixtures.ts';
import {repvgg} from './run.ts';

test('demo: fusion changes no answer, and 357 of 360 are right', async t => {
  const {code, stdout, stderr} = await repvgg(['demo', '--json']);
  t.is(code, 0);
  t.is(stderr, '');
  const result = JSON.parse(stdout);
  t.like(result, {
    images: 360,
    correct: {before: 357, after: 357},
    accuracy: {before: 357 / 360, after: 357 / 360},
    parameters: {before: 164650, after: 147226},
  });
  t.true(result.largestLogitDifference > 0 && result.largestLogitDifference < 1e-4);
  t.true(result.imagesPerSecond > 0);
  t.is(result.predictions.length, 8);
  const wrong = result.predictions.filter((row: {label: string; truth: string}) => row.label !== row.truth);
  t.is(wrong.length, 3);
});

test('demo for people: text alone where standard output is no terminal, and the wrong ones marked', async t => {
  const {code, stdout} = await repvgg(['demo']);
  t.is(code, 0);
  t.regex(stdout, /^accuracy before fusion +99\.17 % \(357 of 360\)\naccuracy after fusion +99\.17 % /m);
  t.is(stdout.match(/<- wrong/g)?.length, 3);
  t.is(stdout.match(/\d{4}-\d\.png/g)?.length, 8);
  t.regex(stdout, /^[\x20-\x7e\n]*$/);
});

test('an image is drawn in half blocks of 24 greys, or in characters of a ramp', t => {
  const pixels = [0, 255, 128, 10, 255, 0];
  const image = {data: Uint8Array.from(pixels.flatMap(v => [v, v, v])), width: 2, height: 3};
  t.deepEqual(picture(image, true), [
    '\x1b[38;5;232;48;5;244m▀\x1b[38;5;255;48;5;232m▀\x1b[0m',
    '\x1b[38;5;255;48;5;232m▀\x1b[38;5;232;48;5;232m▀\x1b[0m',
  ]);
  t.deepEqual(picture(image, false), ['  @@', '++  ', '@@  ']);
});

test("info has the paper's numbers for an architecture by name", async t => {
  const {code, stdout} = await repvgg(['info', 'repvgg_b1g4']);
  t.is(code, 0);
  t.regex(stdout, /^architecture +RepVGG-B1g4$/m);
  t.regex(stdout, /^stage1\.1 +128 -> 128, groups 4 +56 x 56 +/m);
  t.regex(stdout, /^parameters as trained +39,966,056$/m);
  t.regex(stdout, /^parameters fused +36,125,416$/m);
  t.regex(stdout, /^the paper's FLOPs .* 7\.307 B$/m);
  t.regex(stdout, /^the paper's Wino MULs .* 3\.901 B$/m);
});

test('info says what a file is: container, names, form and layers', async t => {
  const file = checkpoint('narrow.timm.zip.pth');
  const {code, stdout} = await repvgg(['info', file, '-r', '64', '--json']);
  t.is(code, 0);
  const {architecture, checkpoint: found, input, layers, total} = JSON.parse(stdout);
  t.like(architecture, {numBlocks: [2, 4, 2, 1], widths: [8, 8, 12, 20, 25], groups: 2, numClasses: 12});
  t.like(found, {path: file, format: 'PyTorch zip', names: 'timm', form: 'train'});
  t.deepEqual(input, {height: 64, width: 64});
  t.is(layers.length, 10);
  t.is(total.deployParameters, 13445);
});

test('info of an ONNX file is at the size of its input', async t => {
  const {stdout} = await repvgg(['info', checkpoint('narrow.deploy.onnx'), '--json']);
  const {input, checkpoint: found} = JSON.parse(stdout);
  t.deepEqual(input, {height: 56, width: 56});
  t.like(found, {form: 'deploy', fusedBlocks: 10});
});

test('info of a network that is fused in part says in how much of it', async t => {
  const file = fileURLToPath(new URL('../fixtures/dialects/plain.partly-fused.pth', import.meta.url));
  const {stdout} = await repvgg(['info', file]);
  t.regex(stdout, /^form +deploy \(3 of 8 blocks fused\)$/m);
  t.regex(stdout, /^epsilon +1e-5$/m);
});

test('info of "digits" is at its own input size', async t => {
  const {stdout} = await repvgg(['info', 'digits']);
  t.regex(stdout, /^input +32 x 32$/m);
  t.regex(stdout, /^form +train/m);
  t.regex(stdout, /^linear +128 -> 10 +1,290 +1,280$/m);
});

test('info --svg overwrites no checkpoint', async t => {
  const {code, stderr} = await repvgg(['info', 'digits', '--svg', 'digits.pth']);
  t.is(code, 2);
  t.regex(stderr, /Expected a file that ends in \.svg\./);
});

test('doctor tells the versions and the machine', async t => {
  const {code, stdout} = await repvgg(['doctor', '--json']);
  t.is(code, 0);
  const report = JSON.parse(stdout);
  t.like(report, {node: process.version, nodeApi: process.versions.napi, addon: {error: null}});
  t.like(report.system, {platform: process.platform, arch: process.arch});
  t.regex(report.addon.path, /\.node$/);
  t.true(report.cpu.instructionSets.includes('baseline'));
  t.is(typeof report.cuda.built, 'boolean');
  t.regex(report.device.name, /^(cpu|cuda:\d+)$/);
  t.regex(report.sharp.version, /^\d+\.\d+\.\d+/);
  t.regex(report.sharp.libvips, /^8\.\d+\.\d+/);
});

test('doctor works where the addon does not load, says why, and fails', async t => {
  const env = {REPVGG_PREBUILD: '/no/such/folder'}; // instead of the package
  const {code, stdout, stderr} = await repvgg(['doctor', '--json'], {env});
  t.is(code, 3);
  t.regex(stderr, /^repvgg: The native addon does not load [^\n]* \(ERR_NATIVE_LOAD\)\n$/);
  const {node, addon, cuda, sharp} = JSON.parse(stdout);
  t.is(node, process.version);
  t.is(addon.path, null);
  t.regex(addon.error, /which REPVGG_PREBUILD names, contains no binary/);
  t.is(cuda, null);
  t.is(sharp.error, null);
  t.regex((await repvgg(['doctor'], {env})).stdout, /^cuda +unknown\n.*\njpeg +unknown$/m);
});

test('info --layers says by which algorithm each layer runs, and why', async t => {
  const args = ['info', 'digits', '--layers', '--device', 'cpu', '--batch-size', '8'];
  const {code, stdout, stderr} = await repvgg(args);
  t.is(code, 0, stderr);
  t.regex(stdout, /^on cpu \(The CPU was asked for\), fp32, up to 8 at a time$/m);
  t.regex(stdout, /^stage4\.0 +64 -> 128, stride 2 +1 x 1 +direct +only/m);
  const pinned = await repvgg([...args, '--json'], {env: {REPVGG_ALGORITHM: 'f2'}});
  const {running} = JSON.parse(pinned.stdout);
  t.like(running, {precision: 'fp32', batchSize: 8, device: {name: 'cpu'}});
  t.is(running.layers.length, 7);
  t.like(running.layers[3], {algorithm: 'f2', source: 'pinned'});
  const wrong = await repvgg(args, {env: {REPVGG_ALGORITHM: 'f3'}});
  t.is(wrong.code, 2);
  t.regex(wrong.stderr, /REPVGG_ALGORITHM.*\(ERR_INVALID_ARGUMENT\)/);
});
