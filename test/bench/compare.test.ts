import {once} from 'node:events';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {betterOf, checkReports, compareReports, readReport} from '../../ts/bench/compare.ts';
import type {BenchReport} from '../../ts/bench/results.ts';
import {repvgg, start, temporaryFolder} from '../cli/run.ts';
import {fullReport, reportOf, result} from './results.ts';

test('only what is outside both ranges is a change', t => {
  const before = reportOf([100, 200, 300, 400, 500].map((rate, i) => result(rate, {batch: i + 1})));
  const after = reportOf([96, 150, 400, 420, 10].map((rate, i) => result(rate, {batch: i < 4 ? i + 1 : 9})));
  const {changes, onlyBefore, onlyAfter} = compareReports(before, after);
  t.deepEqual(
    changes.map(({verdict}) => verdict),
    ['within noise', 'slower', 'faster', 'within noise'],
  );
  t.is(changes[1]!.factor, 0.75);
  t.regex(onlyBefore.join(), /batch 5/);
  t.regex(onlyAfter.join(), /batch 9/);
});

test('results of two machines or versions are not taken for those of one', t => {
  const own = reportOf([result(100)]);
  t.is(compareReports(own, reportOf([result(90)])).origins, null);
  const other = reportOf([result(900)]);
  other.machine.gpus = ['GPU X'];
  t.deepEqual(compareReports(own, {...other, version: '0.2.0'}).origins, {
    before: 'repvgg 0.1.0 on A <fast> CPU, 2 cores',
    after: 'repvgg 0.2.0 on A <fast> CPU, 2 cores, GPU X',
  });
});

test('a check is about ratios: a slower machine passes, a slower program does not', t => {
  const slowMachine = reportOf([result(50, {fractionOfPeak: 1})]);
  t.true(checkReports(reportOf([result(100)]), slowMachine)[0]!.passed);
  const slowProgram = reportOf([result(100, {fractionOfPeak: 0.89})]);
  t.like(checkReports(reportOf([result(100)]), slowProgram)[0], {
    quantity: 'fraction of peak',
    passed: false,
  });
  const peer = (median: number) =>
    reportOf([
      result(9, {
        runner: 'onnxruntime-node',
        ratio: {min: 0.98 * median, median, max: 1.02 * median, runs: 7},
      }),
    ]);
  t.like(checkReports(peer(2), peer(1.7))[0], {quantity: 'ratio to the peer', passed: false});
  t.true(checkReports(peer(2), peer(1.9))[0]!.passed);
});

test('where both runs counted instructions, these are checked, and ratios are not', t => {
  const counted = (min: number, fields = {}) =>
    reportOf([result(100, {instructionsPerImage: {min, median: 2 * min, max: 9e9, runs: 5}, ...fields})]);
  const slow = checkReports(counted(1e9), counted(1.01e9, {fractionOfPeak: 0.1}));
  t.like(slow[0], {quantity: 'instructions per image', before: 1e9, after: 1.01e9, passed: true});
  t.is(slow.length, 1);
  t.false(checkReports(counted(1e9), counted(1.03e9, {fractionOfPeak: 2}))[0]!.passed);
  t.true(checkReports(counted(1e9), counted(5e8))[0]!.passed);
  t.like(checkReports(counted(1e9), reportOf([result(100)]))[0], {quantity: 'fraction of peak'});
});

test('else ours is checked by processor time, where both runs have it', t => {
  const range = (median: number, half = 0.3) => ({min: median - half, median, max: median + half, runs: 7});
  const before = reportOf([result(100, {cpuTimeFraction: range(1)})]);
  // By the clock ten times as slow, as where others have the cores.
  const busy = reportOf([result(10, {fractionOfPeak: 0.1, cpuTimeFraction: range(0.91)})]);
  const quantity = 'fraction of peak by processor time';
  t.like(checkReports(before, busy), [{quantity, before: 1, after: 0.91, allowedLoss: 0.1, passed: true}]);
  const slower = reportOf([result(100, {cpuTimeFraction: range(1 / 1.2)})]);
  t.like(checkReports(before, slower), [{quantity, passed: false}]);
  t.like(checkReports(before, reportOf([result(100)])), [{quantity: 'fraction of peak'}]);
});

test('of two checks of a case the better one counts', t => {
  const check = (...fractions: number[]) =>
    checkReports(
      reportOf([result(100), result(100, {batch: 32})]),
      reportOf(fractions.map((fractionOfPeak, i) => result(9, {fractionOfPeak, batch: i === 0 ? 8 : 32}))),
    );
  t.deepEqual(
    betterOf(check(1, 0.5), check(0.5, 0.95)).map(({after}) => after),
    [1, 0.95],
  );
  t.deepEqual(
    betterOf(check(1, 0.5), check(0.5)).map(({after, passed}) => [after, passed]),
    [
      [1, true],
      [0.5, false],
    ],
  );
});

test('the spread of a run is not taken for a loss', t => {
  const noisy = reportOf([result(100, {fractionOfPeak: 0.8, spread: 0.3})]);
  t.like(checkReports(reportOf([result(100)]), noisy)[0], {allowedLoss: 0.3, passed: true});
  const useless = reportOf([result(100, {fractionOfPeak: 0.4, spread: 1.2})]);
  t.like(checkReports(reportOf([result(100)]), useless)[0], {allowedLoss: 0.5, passed: false});
});

test('the spread that counts is that of what is checked, not that of images per second', t => {
  const range = (median: number, half: number) => ({min: median - half, median, max: median + half, runs: 7});
  const steady = reportOf([result(100, {fractionRange: range(1, 0.01)})]);
  const unsteadyPeak = {fractionOfPeak: 0.8, fractionRange: range(0.8, 0.12), spread: 0.01};
  t.like(checkReports(steady, reportOf([result(100, unsteadyPeak)]))[0], {passed: true});
  const worse = {fractionOfPeak: 0.8, fractionRange: range(0.8, 0.01), spread: 0.4};
  t.like(checkReports(steady, reportOf([result(100, worse)]))[0], {allowedLoss: 0.1, passed: false});
  const peer = (median: number) =>
    reportOf([result(9, {runner: 'onnxruntime-node', ratio: range(median, 0.01), spread: 0.4})]);
  t.false(checkReports(peer(2), peer(1.7))[0]!.passed);
});

test('a file that holds something else is refused', async t => {
  const path = join(await temporaryFolder(t), 'other.json');
  for (const text of ['{}', 'no JSON', '{"results": [{}]}']) {
    await writeFile(path, text);
    await t.throwsAsync(readReport(path), {code: 'ERR_INVALID_ARGUMENT', message: /repvgg bench --json/});
  }
  await t.throwsAsync(readReport(`${path}.no`), {code: 'ERR_FILE_NOT_FOUND'});
});

test('--compare prints each case with its verdict', async t => {
  const folder = await temporaryFolder(t);
  const [before, after] = [fullReport(), fullReport()];
  after.results[0]!.imagesPerSecond = {min: 1, median: 2, max: 3, runs: 7};
  await writeFile(join(folder, 'a.json'), JSON.stringify(before));
  await writeFile(join(folder, 'b.json'), JSON.stringify(after));
  const {code, stdout} = await repvgg(['bench', '--compare', 'a.json', 'b.json'], {cwd: folder});
  t.is(code, 0);
  t.is(stdout.match(/within noise/g)?.length, before.results.length - 1);
  t.regex(stdout, /repvgg RepVGG-A0 deploy engine .* batch 1 .*slower\n/);
});

test('a case that was not measured again does not pass, and needs no counterpart without a ratio', t => {
  const decode = result(300, {stage: 'decode', model: null, precision: 'uint8', fractionOfPeak: null});
  const before = reportOf([result(100), result(100, {batch: 32}), decode]);
  const checked = checkReports(before, reportOf([result(100)]));
  t.deepEqual(
    checked.map(({after, passed}) => [after, passed]),
    [
      [1, true],
      [null, false],
    ],
  );
  const peer = result(50, {runner: 'onnxruntime-node', ratio: {min: 1, median: 2, max: 3, runs: 7}});
  t.like(checkReports(reportOf([peer]), reportOf([result(100)])), [{after: null, passed: false}]);
});

test('--check of results that have no networks says so before anything is measured', async t => {
  const folder = await temporaryFolder(t);
  const decode = result(300, {stage: 'decode', model: null, precision: 'uint8', fractionOfPeak: null});
  await writeFile(join(folder, 'decode.json'), JSON.stringify(reportOf([decode])));
  const {code, stderr} = await repvgg(['bench', '--check', 'decode.json'], {cwd: folder});
  t.is(code, 2, stderr);
  t.regex(stderr, /networks for --check .*ERR_INVALID_ARGUMENT/);
});

test('--check does not replace the file that it compares with', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'results.json');
  await writeFile(path, JSON.stringify(fullReport()));
  const {code, stderr} = await repvgg(['bench', '--check', 'results.json', '--output', '.'], {cwd: folder});
  t.is(code, 2);
  t.regex(stderr, /'--check' needs a file that --output does not overwrite/);
  t.deepEqual(await readReport(path), fullReport());
});

test('--check measures what the file has, and fails where it was better', async t => {
  const folder = await temporaryFolder(t);
  const args = ['bench', '--models', 'A0', '--batch', '1', '--stage', 'engine', '--precision', 'fp32'];
  const measured = await repvgg([...args, '--threads', '1', '--seconds', '0.1', '--json'], {cwd: folder});
  const before = JSON.parse(measured.stdout) as BenchReport;
  const [one] = before.results;
  const {min, median, max, runs} = one!.cpuTimeFraction!;
  const cpuTimeFraction = {min, median: 50 * median, max, runs};
  const faked = {...one!, cpuTimeFraction, instructionsPerImage: null};
  const absent = {
    ...one!,
    cpuTimeFraction: null,
    instructionsPerImage: null,
    runner: 'onnxruntime-node',
    ratio: {min: 1, median: 1, max: 1, runs: 7},
  };
  const peers = {'onnxruntime-node': '1.0.0'};
  await writeFile(join(folder, 'f.json'), JSON.stringify({...before, peers, results: [faked, absent]}));
  const check = ['bench', '--check', 'f.json', '--seconds', '0.1'];
  // Where commands run there is no such package, unless beside this one.
  const {code, stdout, stderr} = await repvgg(check, {cwd: folder});
  t.is(code, 1, stderr);
  t.regex(
    stdout,
    /^repvgg RepVGG-A0 deploy engine cpu fp32 batch 1 1 threads +fraction of peak by processor time .* WORSE$/m,
  );
  t.regex(stdout, /^onnxruntime-node .* (NOT MEASURED|ok|WORSE)$/m);
});

test('--check fails where it was better, also where nobody reads what it prints', async t => {
  const folder = await temporaryFolder(t);
  const better = result(1e9, {batch: 1, threads: 1, fractionOfPeak: 1e9});
  const {limits, ...report} = reportOf([better]);
  await writeFile(join(folder, 'f.json'), JSON.stringify({...report, limits: {...limits, threads: 1}}));
  const child = start(['bench', '--check', 'f.json', '--seconds', '0.05'], {cwd: folder});
  child.stdout!.destroy();
  const [code] = await once(child, 'close');
  t.is(code, 1);
});
