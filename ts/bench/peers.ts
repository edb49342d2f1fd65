import type {Peer} from './peer.ts';
import {findInstalled} from './peer.ts';
import {type OnnxRuntime, onnxRuntimePeer} from './peer_onnxruntime.ts';
import {type Mode, openPyTorch, type PyTorch} from './peer_pytorch.ts';
import {type Transformers, transformersPeer} from './peer_transformers.ts';
import type {PeerName} from './results.ts';

export interface Peers {
  list: Peer[];
  versions: Record<string, string>;
  /** GFLOP/s of a matrix product; null without PyTorch. */
  gemmGflops(): Promise<number | null>;
  close(): Promise<void>;
}

/** Opens the named peers that are installed, and adds to `skipped` why the others are missing. PyTorch counts as several. */
export async function openPeers(
  names: readonly PeerName[],
  {device, precision}: {device: 'cpu' | 'cuda'; precision: string},
  folder: string,
  threads: number,
  skipped: string[],
  stop: AbortSignal,
): Promise<Peers> {
  const list: Peer[] = [];
  const versions: Record<string, string> = {};
  const add = <Package>(name: PeerName, packageName: string, open: (found: Package) => string): void => {
    if (!names.includes(name)) return;
    try {
      const found = findInstalled<Package>(packageName);
      if (found) versions[name] = open(found);
      else skipped.push(`${name}: it is not installed; run "npm install --no-save ${packageName}".`);
    } catch (error) {
      skipped.push(`${name}: it does not load: ${(error as Error).message}.`);
    }
  };
  add<OnnxRuntime>('onnxruntime-node', 'onnxruntime-node', runtime => {
    list.push(onnxRuntimePeer(runtime, 'fp32', device, folder, threads));
    // On a CPU it converts fp16 weights back to fp32.
    if (device === 'cuda' && precision === 'fp16')
      list.push(onnxRuntimePeer(runtime, precision, device, folder, threads));
    return runtime.env.versions.node ?? runtime.env.versions.common;
  });
  add<Transformers>('transformers', '@huggingface/transformers', transformers => {
    list.push(transformersPeer(transformers, device, folder, threads));
    return transformers.env.version;
  });
  let pytorch: PyTorch | undefined;
  const modes: Mode[] = [
    ...(names.includes('pytorch') ? (['eager', 'graph'] as const) : []),
    ...(names.includes('pytorch-compile') ? (['compile'] as const) : []),
  ];
  if (modes.length > 0) {
    const opened = await openPyTorch(modes, device, folder, threads, stop);
    if (typeof opened === 'string') {
      skipped.push(`pytorch: ${opened}`);
    } else {
      pytorch = opened;
      list.push(
        // Compiled networks, and all on a GPU, only in the precision of the run, because each takes minutes.
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
