import {join} from 'node:path';
import test from 'ava';
import {convertCheckpoint} from '../../ts/convert.ts';
import {RepVGG} from '../../ts/model.ts';
import {native} from '../../ts/native/addon.ts';
import {verifyCheckpoint} from '../../ts/verify.ts';
import {checkpoint, expected, photos} from '../fixtures.ts';
import {testWhere, testWithBf16} from '../where.ts';
import {repvgg, temporaryFolder} from './run.ts';

const {preprocessing} = expected;
const [train, half] = [checkpoint('narrow.official.zip.pth'), checkpoint('narrow.half.zip.pth')];

test('a network and its fused form differ by rounding', async t => {
  const deploy = join(await temporaryFolder(t), 'deploy.pth');
  await convertCheckpoint(train, deploy);
  const [here, file] = await Promise.all([
    verifyCheckpoint(train, {inputs: photos, preprocessing}),
    verifyCheckpoint(train, {inputs: photos, preprocessing, deploy}),
  ]);
  t.deepEqual(here, file);
  t.true(here.passed);
  t.is(here.sameTop1, photos.length);
  t.true(here.relativeDifferences.every(difference => difference > 0 && difference < 1e-5));
});

test('the differences are those of the logits', async t => {
  const verification = await verifyCheckpoint(train, {inputs: photos, preprocessing, deploy: half});
  await using a = await RepVGG.load(train, {form: 'train', preprocessing});
  await using b = await RepVGG.load(half, {preprocessing});
  const [before, after] = [await a.logits(photos), await b.logits(photos)];
  const differences = before.map((row, i) => Array.from(row, (value, j) => value - after[i]![j]!));
  const sums = differences.map(row => row.reduce((sum, d) => sum + d * d, 0));
  t.deepEqual(verification.sumSquaredDifferences, sums);
  t.deepEqual(
    verification.relativeDifferences,
    sums.map((sum, i) => Math.sqrt(sum / before[i]!.reduce((total, value) => total + value ** 2, 0))),
  );
  t.is(verification.largestDifference, Math.max(...differences.flat().map(Math.abs)));
  t.is(verification.largestOutput, Math.max(...before.flatMap(row => [...row]).map(Math.abs)));
  t.false(verification.passed);
  t.true(
    (await verifyCheckpoint(train, {inputs: photos, preprocessing, deploy: half, tolerance: 0.01})).passed,
  );
});

test('noise is the same in every run, and a backbone is compared by its features', async t => {
  const [first, second] = [await verifyCheckpoint('digits'), await verifyCheckpoint('digits')];
  t.deepEqual(first, second);
  t.is(first.sumSquaredDifferences.length, 8);
  t.is(new Set(first.sumSquaredDifferences).size, 8);
  t.like(await verifyCheckpoint(checkpoint('backbone.zip.pth'), {random: 1, preprocessing}), {
    output: 'embedding',
    sameTop1: null,
    passed: true,
  });
});

test('arguments are checked', async t => {
  for (const [name, options] of [
    ['tolerance', {tolerance: 0}],
    ['tolerance', {tolerance: Number.NaN}],
    ['random', {random: 0}],
    ['inputs', {inputs: []}],
    ['random', {inputs: photos, random: 8}],
    ['calibration', {calibration: 'digits'}],
    ['calibration', {calibration: 'digits', precision: 'auto'}],
  ] as const) {
    const message = new RegExp(` for ${name} but received`);
    await t.throwsAsync(verifyCheckpoint(train, options), {code: 'ERR_INVALID_ARGUMENT', message});
  }
  await t.throwsAsync(verifyCheckpoint(checkpoint('narrow.deploy.zip.pth')), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /narrow\.deploy\.zip\.pth is fused already/,
  });
  await t.throwsAsync(verifyCheckpoint('digits', {deploy: train}), {code: 'ERR_ARCHITECTURE_MISMATCH'});
});

test('the command exits with 0 for equal networks and with 1 for different ones', async t => {
  const equal = await repvgg(['verify', 'digits', '--random', '2']);
  t.is(equal.code, 0);
  t.regex(equal.stdout, /^noise 1 +\d\.\de-1\d +\d\.\de-7$/m);
  t.regex(equal.stdout, /\nsame top-1 +2 of 2\n\nequal: no relative difference exceeds 0\.0001\n$/);
  const geometry = ['--resize', '64', '--crop', '56'];
  const different = await repvgg(['verify', train, half, ...geometry, '--images', ...photos]);
  t.is(different.code, 1);
  const {sumSquaredDifferences} = await verifyCheckpoint(train, {
    inputs: photos,
    preprocessing,
    deploy: half,
  });
  for (const [i, sum] of sumSquaredDifferences.entries()) {
    t.true(different.stdout.includes(`\n${photos[i]} `));
    t.true(different.stdout.includes(` ${sum.toExponential(1)} `));
  }
  t.regex(different.stdout, /\nDIFFERENT: 4 of 4 relative differences exceed 0\.0001\n$/);
});

test('epsilon is that of all commands', async t => {
  const deploy = join(await temporaryFolder(t), 'deploy.pth');
  const eps = ['--eps', '1e-3'];
  t.is((await repvgg(['convert', train, deploy, ...eps])).code, 0);
  const [same, other, info] = await Promise.all([
    repvgg(['verify', train, deploy, ...eps]),
    repvgg(['verify', train, deploy]),
    repvgg(['info', train, ...eps, '--json']),
  ]);
  t.is(same.code, 0, same.stderr);
  t.is(other.code, 1);
  t.like((JSON.parse(info.stdout) as {checkpoint: object}).checkpoint, {names: 'official', eps: 1e-3});
});

testWhere(native().cpuInfo().bf16 === null, 'the processor has bf16')(
  'bf16 is refused where the processor lacks it',
  async t => {
    await t.throwsAsync(verifyCheckpoint('digits', {device: 'cpu', precision: 'bf16'}), {
      code: 'ERR_PRECISION_UNSUPPORTED',
    });
  },
);

testWithBf16('the fused form can run in another precision, by whose bound it is judged', async t => {
  const fp32 = await verifyCheckpoint('digits', {device: 'cpu', random: 2});
  const bf16 = await verifyCheckpoint('digits', {device: 'cpu', random: 2, precision: 'bf16'});
  t.like(fp32, {precision: 'fp32', tolerance: 1e-4, passed: true});
  t.like(bf16, {precision: 'bf16', tolerance: 2e-2, passed: true});
  t.true(bf16.largestDifference > 100 * fp32.largestDifference);
  const strict = await verifyCheckpoint('digits', {
    device: 'cpu',
    random: 2,
    precision: 'bf16',
    tolerance: 1e-4,
  });
  t.false(strict.passed);
});
