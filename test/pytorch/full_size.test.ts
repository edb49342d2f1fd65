/** Full-size networks against PyTorch in float64. */
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {convertCheckpoint} from '../../ts/convert.ts';
import {RepVGG} from '../../ts/model.ts';
import {native} from '../../ts/native/addon.ts';
import type {Preprocessing} from '../../ts/preprocessing.ts';
import {relativeL2} from '../reference64.ts';
import {runPython, testWithPython} from './python.ts';

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

/** docs/cpu.md says where these errors come from. */
const mostInBf16: Record<string, number> = {A0: 2e-2, A2: 2e-2, B1g4: 2e-2, D2se: 2e-2};

const norm = (values: number[]): number => Math.hypot(...values);
testWithPython(
  'full-size networks give the logits of PyTorch in float64, and so do their converted files',
  async t => {
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
      if (native().cpuInfo().bf16) {
        await using model = await RepVGG.load(train, {architecture, precision: 'bf16'});
        const worst = error(await model.logits(images));
        t.log(`${architecture} bf16: relative L2 ${worst.toExponential(2)}`);
        t.true(worst <= mostInBf16[name]!);
      } else t.log(`${architecture} bf16: not compared, the processor has none`);
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
  },
);
