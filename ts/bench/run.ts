import {rmSync} from 'node:fs';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fromNative, type NativeLimits, native} from '../native/addon.ts';
import {nativePrecision} from '../native/native_network.ts';
import {onAbort} from '../support/cancellation.ts';
import {fileWriteError} from '../support/replace_file.ts';
import {type Case, listCases, type Plan, titleOf} from './cases.ts';
import {type InstructionCounter, instructionsPerImage, joulesPerImage, memoryInUse} from './counters.ts';
import {type DescribedNetwork, layersOf} from './layers.ts';
import {thisMachine} from './machine.ts';
import {type Contestant, interleave, tryOut} from './measure.ts';
import type {Peer} from './peer.ts';
import {openPeers, type Peers} from './peers.ts';
import type {BenchReport, BenchResult} from './results.ts';
import {limitsOf, toResult} from './to_result.ts';

export interface BenchOptions {
  /** Seconds to measure the rate of one contestant of one case, over seven rounds; its latencies take half as long again. */
  seconds: number;
  /** Whether to report each layer. */
  layers: boolean;
  /** If finite, no case starts after this many seconds, and cases whose batch takes longer than `seconds` are skipped. */
  limitSeconds: number;
  version: string;
  countInstructions: InstructionCounter;
  /** Ends the run with what has been measured so far. */
  stop: AbortSignal;
  onProgress(message: string): void;
}

/** The device and precision whose limits are measured. */
type Subject = Pick<
  Parameters<ReturnType<typeof native>['measureLimits']>[0],
  'device' | 'precision' | 'threads'
>;

const rounds = 7;
const latencyShare = 0.5;
const limitsSeconds = 0.2;
/** Length of the reference measurement before each round. */
const referenceSeconds = 0.03;
const interrupted = 'the run was interrupted.';

/** Measures the plan, case by case. Nothing else should be running on the machine. */
export async function runBench(plan: Plan, options: BenchOptions): Promise<BenchReport> {
  const {form, stages, threads, placement} = plan;
  const {onProgress, version, stop} = options;
  const prefix = join(tmpdir(), 'repvgg-bench-');
  const folder = await mkdtemp(prefix).catch(error => {
    throw fileWriteError(`${prefix}*`, error);
  });
  // At once, so that nothing is left behind if the process is then killed.
  const forget = onAbort(stop, () => rmSync(folder, {recursive: true, force: true, maxRetries: 3}));
  const skipped: string[] = [];
  const described: DescribedNetwork[] = [];
  let peers: Peers | undefined;
  try {
    // Random weights in train form and in deploy form are different networks, so they cannot be compared.
    const fused = form === 'deploy';
    if (!fused && stages.includes('pipeline')) skipped.push('pipeline: it runs only the fused form.');
    if (!fused && plan.peers.length > 0) skipped.push('peers: they run only the fused form.');
    onProgress('limits of this machine');
    const {device, precision} = placement;
    const subject = {device: device.members[0]!, precision: nativePrecision(precision), threads};
    const references = [await native().measureLimits({...subject, seconds: limitsSeconds, copy: true})];
    const subjectOfPeers = {device: device.backend, precision};
    peers = await openPeers(fused ? plan.peers : [], subjectOfPeers, folder, threads, skipped, stop);
    const run = {folder, subject, references, described, skipped, peers: peers.list};
    const results = await measureCases(plan, options, run);
    const limits = limitsOf(references, threads, await peers.gemmGflops());
    return {
      machine: thisMachine(),
      version,
      date: new Date().toISOString(),
      peers: peers.versions,
      results,
      limits,
      ...(options.layers && {layers: described.map(one => layersOf(one, limits))}),
      skipped,
    };
  } catch (error) {
    throw fromNative(error);
  } finally {
    await peers?.close();
    forget();
    await rm(folder, {recursive: true, force: true});
  }
}

/** Shared by the cases of a run, which append to `references`, `described` and `skipped`. */
interface Run {
  folder: string;
  subject: Subject;
  peers: readonly Peer[];
  references: NativeLimits[];
  described: DescribedNetwork[];
  skipped: string[];
}

/**
 * Measures the cases that there is time for. A case that fails is skipped: a network that does not fit into memory must not cost the other
 * results.
 *
 * @throws the first error, if no case has a result
 */
async function measureCases(plan: Plan, options: BenchOptions, run: Run): Promise<BenchResult[]> {
  const {limitSeconds, stop, onProgress} = options;
  const end = performance.now() + 1000 * limitSeconds;
  const results: BenchResult[] = [];
  let failure: unknown;
  for (const one of listCases(plan)) {
    const skip = (why: string): unknown => run.skipped.push(`${titleOf(one)}: ${why}`);
    if (stop.aborted) skip(interrupted);
    else if (performance.now() > end) skip(`the run has already taken ${limitSeconds} seconds.`);
    else {
      onProgress(titleOf(one));
      try {
        const outcome = await measureCase(one, options, run);
        if (typeof outcome === 'string') skip(outcome);
        else results.push(...outcome);
      } catch (error) {
        if (!stop.aborted) failure ??= error;
        skip(stop.aborted ? interrupted : (error as Error).message);
      }
    }
  }
  if (failure !== undefined && results.length === 0) throw failure;
  return results;
}

/** Returns the results of all contestants, or why the case was skipped. */
async function measureCase(
  one: Case,
  {seconds, layers, limitSeconds, countInstructions, stop, onProgress}: BenchOptions,
  {folder, subject, peers, references, described, skipped}: Run,
): Promise<BenchResult[] | string> {
  const opened: {contestant: Contestant; peer: Peer | null; outputError: number | null}[] = [];
  try {
    const ours = await one.open(folder);
    opened.push({contestant: ours, peer: null, outputError: null});
    const mostSeconds = limitSeconds < Infinity ? seconds : Infinity;
    const runSeconds = await tryOut(ours, one.batch, mostSeconds);
    if (runSeconds > mostSeconds)
      return `one batch takes ${runSeconds.toFixed(1)} seconds; set --seconds to measure it.`;
    if ('output' in ours) {
      for (const peer of peers) {
        onProgress(`${titleOf(one)}, beside ${peer.runner} ${peer.precision}`);
        const other = await peer.open(one.network!, ours).catch((error: Error) => error.message);
        stop.throwIfAborted();
        if (typeof other === 'string') skipped.push(withoutPeer(peer, one, other));
        else opened.push({...other, peer});
      }
    }
    const schedule = {
      rounds,
      sampleSeconds: seconds / rounds,
      latencySeconds: (latencyShare * seconds) / rounds,
      // With peers all rounds are needed; alone, a slow machine may run fewer.
      limitSeconds: opened.length > 1 ? Infinity : 1.5 * (1 + latencyShare) * seconds,
    };
    const measured = await interleave(
      opened.map(({contestant}) => contestant),
      schedule,
      () => {
        stop.throwIfAborted();
        return native().measureLimits({...subject, seconds: referenceSeconds, copy: false});
      },
    );
    for (const [index, error] of measured.failures) {
      const {peer} = opened[index]!;
      if (peer === null) throw error;
      skipped.push(withoutPeer(peer, one, (error as Error).message));
    }
    const joules = await joulesPerImage(ours, schedule.sampleSeconds, one.network?.device.members);
    const onCpu = one.network?.device.name === 'cpu' && 'output' in ours;
    const instructions = onCpu ? await instructionsPerImage(ours, one.batch, countInstructions) : null;
    const counted = {joules, instructions, memoryBytes: memoryInUse(one.network?.device.members[0])};
    references.push(...measured.references);
    if (layers && 'describe' in ours)
      described.push({network: one.network!, description: await ours.describe()});
    return opened.flatMap(({peer, outputError}, index) =>
      measured.failures.has(index) ? [] : [toResult(one, peer, outputError, measured, index, counted)],
    );
  } finally {
    for (const {contestant} of opened) await contestant.close();
  }
}

/** Says why a case has no result of a peer. */
function withoutPeer({runner, precision}: Peer, one: Case, why: string): string {
  return `${runner} ${precision}, ${titleOf(one)}: ${why}`;
}
