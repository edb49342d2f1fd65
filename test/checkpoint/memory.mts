// Fuses the checkpoint of its argument, and prints how many bytes the process has needed for it at most (on Linux).
import {readFileSync} from 'node:fs';
import {networkFromCheckpoint} from '../../ts/checkpoint/network.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';

const kibibytes = (field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))![1]);

const before = kibibytes('VmRSS');
const kept: unknown[] = [];
await using checkpoint = await openCheckpoint(process.argv[2]!);
for await (const block of networkFromCheckpoint(checkpoint).blocks('deploy')) kept.push(block);
console.log(1024 * (kibibytes('VmHWM') - before));
