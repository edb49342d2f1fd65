import {invalidArgument} from '../errors.ts';
import type {Contestant} from './measure.ts';
import {findOnnxRuntime, onnxRuntimePeer} from './peer_onnxruntime.ts';
import {type Mode, openPyTorch, type PyTorch} from './peer_pytorch.ts';
import type {Engine, NetworkCase} from './stages.ts';

/** Another program that runs the same network, in the same rounds. */
export interface Peer {
  runner: string;
  precision: string;
  /** Loads the network and compares its logits with those of `ours`, on the same images; or says why it cannot. */
  open(network: NetworkCase, ours: Engine): Promise<OpenPeer | string>;
}

export interface OpenPeer {
  contestant: Contestant;
  /** Relative L2. */
  outputError: number;
}

export interface Peers {
  list: Peer[];
  versions: Record<string, string>;
  /** GFLOP/s of a matrix product; null where no peer can say. */
  gemmGflops(): Promise<number | null>;
  close(): Promise<void>;
}

/**
 * 'pytorch' runs layer by layer, and on a GPU also as a CUDA graph, in every precision that it has. Compiling takes a minute a
 * case: 'pytorch-compile' is in the precision of the run only.
 */
export const peerNames: readonly string[] = ['onnxruntime-node', 'pytorch', 'pytorch-compile'];

/**
 * Finds the peers that are named and installed; why the others are not there is added to `skipped`. PyTorch brings several.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT for another name
 */
export async function openPeers(
  names: readonly string[],
  {device, precision}: {device: 'cpu' | 'cuda'; precision: string},
  folder: string,
  threads: number,
  skipped: string[],
): Promise<Peers> {
  const unknown = names.find(name => !peerNames.includes(name));
  if (unknown !== undefined) throw invalidArgument('peers', peerNames.join(', '), unknown);
  const list: Peer[] = [];
  const versions: Record<string, string> = {};
  if (names.includes('onnxruntime-node')) {
    try {
      const runtime = findOnnxRuntime();
      if (runtime) {
        list.push(onnxRuntimePeer(runtime, device, folder, threads));
        versions['onnxruntime-node'] = runtime.env.versions.node ?? runtime.env.versions.common;
      } else {
        skipped.push(
          'onnxruntime-node: it is not installed; "npm install --no-save onnxruntime-node" adds it.',
        );
      }
    } catch (error) {
      skipped.push(`onnxruntime-node: it does not load: ${(error as Error).message}.`);
    }
  }
  let pytorch: PyTorch | undefined;
  const modes: Mode[] = [
    ...(names.includes('pytorch') ? (['eager', 'graph'] as const) : []),
    ...(names.includes('pytorch-compile') ? (['compile'] as const) : []),
  ];
  if (modes.length > 0) {
    const opened = await openPyTorch(modes, device, folder, threads);
    if (typeof opened === 'string') {
      skipped.push(`pytorch: ${opened}`);
    } else {
      pytorch = opened;
      list.push(
        // What is compiled, and all that is on a GPU, in the precision of the run only: others take minutes.
        ...opened.peers.filter(
          peer => peer.precision === precision || (device === 'cpu' && peer.runner !== 'pytorch-compile'),
        ),
      );
      for (const name of names) if (name.startsWith('pytorch')) versions[name] = opened.version;
    }
  }
  return {
    list,
    versions,
    gemmGflops: async () => (await pytorch?.gemmGflops()) ?? null,
    close: async () => pytorch?.close(),
  };
}

/** Relative L2 difference. */
export function outputError(values: Float32Array, expected: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (const [i, value] of expected.entries()) {
    difference += (values[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / norm);
}
