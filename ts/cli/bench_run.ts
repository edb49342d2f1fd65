import {join} from 'node:path';
import {type BenchReport, type PeerName, peerNames, type Stage} from '../bench/results.ts';
import type {DeviceList, DeviceName, Precision} from '../native/device.ts';
import type {Form} from '../network.ts';
import type {PreprocessingOptions} from '../preprocessing.ts';
import {makeFolder} from '../support/make_folder.ts';
import {append, checkReplaceable, fileWriteError, replaceFile} from '../support/replace_file.ts';
import {downloadProgress} from './progress.ts';
import {version} from './version.ts';

/** The options of `repvgg bench`. */
export interface BenchFlags {
  models: string[];
  crop?: number;
  batch: number[];
  stage: readonly Stage[];
  peers?: string[] | true;
  form: Form;
  device: DeviceName | DeviceList;
  precision: Precision;
  threads?: number;
  seconds?: number;
  layers?: true;
  output: string;
  compare?: string[];
  check?: string;
  json?: true;
}

export const resultsName = 'results.json';
export const pageName = 'report.html';
export const defaultSeconds = 3;
/** Without --seconds, no case starts after this, so that the run ends within two minutes on any machine. */
const defaultLimitSeconds = 80;

/** Resolves the options and returns a function that measures. */
export async function prepare(
  flags: BenchFlags,
  crops: ReadonlyMap<string, number> = new Map(),
): Promise<(stop: AbortSignal) => Promise<BenchReport>> {
  const {
    models,
    crop,
    batch,
    stage,
    peers,
    layers = false,
    form,
    device,
    precision,
    threads,
    seconds,
  } = flags;
  const limited = seconds === undefined && peers === undefined && flags.check === undefined;
  const {planBench} = await import('../bench/cases.ts');
  const {runBench} = await import('../bench/run.ts');
  const {native} = await import('../native/addon.ts');
  const {usableCores} = await import('../native/usable_cores.ts');
  const preprocessing = (model: string): PreprocessingOptions | undefined => {
    const size = crops.get(model) ?? crop;
    return size === undefined ? undefined : {crop: size};
  };
  const selection = {
    models,
    preprocessing,
    batches: batch.toSorted((a, b) => a - b),
    stages: stage,
    peers: peers === true ? peerNames : ((peers ?? []) as PeerName[]),
    form,
    device,
    precision,
    threads: threads ?? usableCores(),
  };
  const plan = await planBench(selection, downloadProgress);
  const options = {
    layers,
    seconds: seconds ?? defaultSeconds,
    limitSeconds: limited ? defaultLimitSeconds : Infinity,
    version,
    countInstructions: native().countInstructions,
    onProgress(message: string) {
      if (process.stderr.isTTY) process.stderr.write(`measuring: ${message}\n`);
    },
  };
  return stop => runBench(plan, {...options, stop});
}

/** Fails before anything is measured if the files could not be written. */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    makeFolder(folder);
  } catch (error) {
    throw fileWriteError(folder, error);
  }
  for (const name of [resultsName, pageName]) await checkReplaceable(join(folder, name));
}

export async function writeReport(folder: string, report: BenchReport): Promise<void> {
  const {renderReport} = await import('../bench/report.ts');
  const write = (name: string, text: string): Promise<void> =>
    replaceFile(join(folder, name), file => append(file, Buffer.from(text)));
  await write(resultsName, `${JSON.stringify(report, null, 2)}\n`);
  await write(pageName, renderReport(report));
}
