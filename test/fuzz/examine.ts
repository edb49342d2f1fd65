/** What must hold for any bytes whatsoever: each file is read or refused, soon, in little memory, and nothing else happens. */

import {getHeapStatistics} from 'node:v8';
import {CheckpointFile} from '../../ts/checkpoint/file.ts';
import {readCheckpoint} from '../../ts/checkpoint/open.ts';
import {RepVGGError} from '../../ts/errors.ts';
import {NativeFusion} from '../../ts/loading/native_fusion.ts';
import {networkFromCheckpoint} from '../checkpoints.ts';

/** Where no file is, so that none is found beside it. */
const path = '/nonexistent/fuzzed';
const mostMilliseconds = 1000;
/** What parsers of small files use in all: windows, tables, values of a pickle, iterators. Beyond it, memory counts. */
const basicBytes = 2 ** 23;

export interface Examination {
  /** "read", "network" where it held one, or the code of the error. */
  outcome: string;
  milliseconds: number;
  /** Bytes that were allocated in all, garbage included; negative where garbage was collected meanwhile. */
  allocated: number;
}

/** @throws what no checkpoint may cause */
export async function examine(bytes: Uint8Array): Promise<Examination> {
  const memory = allocatedBytes();
  const start = performance.now();
  const declared = {bytes: 0};
  const outcome = await read(bytes, declared).catch((error: unknown) => {
    if (error instanceof RepVGGError && !error.code.startsWith('ERR_INVALID')) return error.code;
    throw error;
  });
  const milliseconds = performance.now() - start;
  const allocated = allocatedBytes() - memory;
  if (milliseconds > mostMilliseconds) await refuseHang(bytes);
  if (allocated > 2 * bytes.length + declared.bytes + basicBytes) {
    throw new Error(
      `it took ${allocated} bytes, for a file of ${bytes.length} with tensors of ${declared.bytes}`,
    );
  }
  for (const key in {}) throw new Error(`every object now has ${key}`);
  return {outcome, milliseconds, allocated};
}

/** Reads once more and counts the processor's time alone, since a busy machine is no hang. */
async function refuseHang(bytes: Uint8Array): Promise<void> {
  const start = process.cpuUsage();
  await read(bytes, {bytes: 0}).catch(() => undefined);
  const {user, system} = process.cpuUsage(start);
  const milliseconds = (user + system) / 1000;
  if (milliseconds > mostMilliseconds) throw new Error(`it took ${milliseconds.toFixed(0)} ms`);
}

async function read(bytes: Uint8Array, declared: {bytes: number}): Promise<string> {
  await using checkpoint = await readCheckpoint(CheckpointFile.ofBytes(path, bytes));
  for (const {shape, dtype} of checkpoint.tensors.values()) {
    const elements = shape.reduce((product, size) => product * size, 1);
    // As they are stored and as float32 numbers, and once more in row-major order.
    declared.bytes += elements * (dtype === 'f64' ? 24 : 16);
  }
  for (const tensor of checkpoint.tensors.values()) await tensor.read();
  try {
    for await (const _ of networkFromCheckpoint(checkpoint, {}, new NativeFusion()).blocks('deploy'));
    return 'network';
  } catch (error) {
    if (error instanceof RepVGGError) return 'read';
    throw error;
  }
}

function allocatedBytes(): number {
  const {used_heap_size: heap, external_memory: external} = getHeapStatistics();
  return heap + external;
}
