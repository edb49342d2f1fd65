// Fuses the checkpoint of its argument, or with another, "load", loads it for the CPU, and prints how many bytes the process
// has needed for it at most (on Linux).
import {readFileSync} from 'node:fs';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {RepVGG} from '../../ts/index.ts';
import {networkFromCheckpoint} from '../checkpoints.ts';

const [path, how] = process.argv.slice(2);
const kibibytes = (field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))![1]);

const before = kibibytes('VmRSS');
const kept: unknown[] = [];
if (how === 'load') {
  kept.push(await RepVGG.load(path!, {device: 'cpu', winograd: 'off', threads: 1}));
} else {
  await using checkpoint = await openCheckpoint(path!);
  for await (const block of networkFromCheckpoint(checkpoint).blocks('deploy')) kept.push(block);
}
console.log(1024 * (kibibytes('VmHWM') - before));
