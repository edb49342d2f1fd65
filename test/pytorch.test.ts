/**
 * Full-size networks against PyTorch in float64. Needs Python with the packages of test/reference/README.md: run as
 * `npm run test:pytorch`, with REPVGG_PYTHON naming the interpreter if it is not python3.
 */
import {execFile} from 'node:child_process';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {convertCheckpoint} from '../ts/convert.ts';
import {RepVGG} from '../ts/model.ts';
import type {Preprocessing} from '../ts/preprocessing.ts';
import {relativeL2} from './reference64.ts';

interface FullSize {
  photos: string[];
  models: {
    architecture: string;
    files: Record<string, {file: string}>;
    preprocessing: Preprocessing;
    logits: number[][];
  }[];
}

interface DeployCheck {
  sumSquaredDiff: number[];
}

const python = process.env.REPVGG_PYTHON;
const norm = (values: number[]): number => Math.hypot(...values);
const timeout = 30 * 60_000;

async function runPython<Result>(script: string, ...args: string[]): Promise<Result> {
  const file = fileURLToPath(new URL(`reference/${script}`, import.meta.url));
  const {stdout} = await promisify(execFile)(python!, [file, ...args], {maxBuffer: 2 ** 28, timeout});
  return JSON.parse(stdout) as Result;
}

test('full-size networks give the logits of PyTorch in float64, and so do their converted files', async t => {
  if (!python) {
    t.log('Skipped: needs PyTorch. See test/reference/README.md, then run `npm run test:pytorch`.');
    t.pass();
    return;
  }
  t.timeout(timeout);
  const folder = await mkdtemp(path.join(tmpdir(), 'repvgg-full-size-'));
  t.teardown(() => rm(folder, {recursive: true}));
  for (const name of ['A0', 'A2', 'B1g4', 'D2se']) {
    const {photos, models} = await runPython<FullSize>('full_size.py', folder, '--models', name);
    const {architecture, files, preprocessing, logits} = models[0]!;
    const images = photos.map(photo => path.join(folder, photo));
    const error = (actual: Float32Array[]): number =>
      relativeL2(Float64Array.from(actual.flatMap(row => [...row])), Float64Array.from(logits.flat()));

    for (const [kind, {file}] of Object.entries(files)) {
      await using model = await RepVGG.load(path.join(folder, file), {architecture});
      t.like(model.preprocessing, {resize: preprocessing.resize, crop: preprocessing.crop});
      const worst = error(await model.logits(images));
      t.log(`${architecture} ${kind}: relative L2 ${worst.toExponential(2)}`);
      t.true(worst <= 1e-5);
    }

    const train = path.join(folder, files.zip!.file);
    const deploy = path.join(folder, `${name}-deploy.pth`);
    await convertCheckpoint(train, deploy, {architecture});
    const size = ['--resize', String(preprocessing.resize), '--crop', String(preprocessing.crop)];
    const check = await runPython<DeployCheck>(
      'check_deploy.py',
      train,
      deploy,
      ...images,
      '--architecture',
      architecture,
      ...size,
    );
    const relative = check.sumSquaredDiff.map((sum, i) => Math.sqrt(sum) / norm(logits[i]!));
    t.log(
      `${architecture} converted: sum of squared differences ${check.sumSquaredDiff.map(sum => sum.toExponential(1))},`,
      `relative L2 ${Math.max(...relative).toExponential(1)}`,
    );
    // Both in float64, so this is what rounding the fused weights to float32 does. The official script's "about 1e-10" is
    // for logits near 0; these have a norm of 70 to 170.
    t.true(Math.max(...relative) < 5e-6);
    await using converted = await RepVGG.load(deploy);
    t.true(error(await converted.logits(images)) <= 1e-5);
    await rm(path.join(folder, files.zip!.file));
  }
});
