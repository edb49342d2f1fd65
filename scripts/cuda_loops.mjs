// Counts the instructions of each kernel's main loop, from its machine code: the second table of docs/kernels.md.
//
//   node scripts/cuda_loops.mjs [--nvcc path] [--cuobjdump path] [--arch 90a] [--files direct_fp32,winograd_f2_fp32]
//
// The main loop is the smallest one with at least half of the most multiply-adds (FFMA) or tensor core products (HMMA) that
// a loop of the kernel has. A multiprocessor's four schedulers issue one instruction of a warp a cycle each, whatever it is,
// so "share" is the part of the issue slots that multiply. A load from shared memory (LDS) of 4, 8 or 16 bytes a lane is
// also what shared memory does in 1, 2 or 4 cycles for the whole multiprocessor, less where lanes read the same words.
import {execFile} from 'node:child_process';
import {mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseArgs, promisify} from 'node:util';
import {readableNames} from './cuda_names.mjs';

const {values} = parseArgs({
  options: {
    nvcc: {type: 'string', default: 'nvcc'},
    cuobjdump: {type: 'string', default: 'cuobjdump'},
    arch: {type: 'string', default: '90a'},
    files: {type: 'string', default: 'direct_fp32,winograd_f2_fp32,winograd_f4_fp32,direct_mma_fp16,direct_wmma'},
    objects: {type: 'string'},
  },
});
