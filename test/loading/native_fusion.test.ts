/** What loading leaves to the addon: the same, to the bit, as what TypeScript and Node do. */
import {open, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {crc32} from 'node:zlib';
import test from 'ava';
import type {TensorInfo} from '../../ts/checkpoint/checkpoint.ts';
import {fuseRows} from '../../ts/fusion/fuse_rows.ts';
import type {BlockFactors} from '../../ts/fusion/fusion.ts';
import {NativeFusion} from '../../ts/loading/native_fusion.ts';
import {type NativeAddon, type NativeFileRange, native} from '../../ts/native/addon.ts';
import {temporaryFolder} from '../folder.ts';
import {Random} from '../random.ts';

const bytesOf = ({buffer, byteOffset, byteLength}: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

interface Rows {
  dense: Float32Array;
  pointwise: Float32Array;
  factors: BlockFactors;
}

/** Among the numbers are zeros of both signs and some that are next to nothing. */
function makeRows(seed: string, channels: number, width: number, identity: boolean): Rows {
  const random = new Random(seed);
  const special = [0, -0, 1e-45, -1e-40, 3e-38];
  const numbers = (length: number): Float32Array =>
    Float32Array.from(random.uniform(length, -3, 3), (value, i) =>
      i % 7 === 3 ? special[i % special.length]! : value,
    );
  const scales = (): Float64Array => Float64Array.from(random.uniform(channels, -2, 2));
  const dense = numbers(channels * width * 9);
  const pointwise = numbers(channels * width);
  const factors = {
    dense: scales(),
    pointwise: scales(),
    identity: identity ? scales() : null,
    bias: new Float32Array(channels),
  };
  // Sums of -0 and -0, which only an identity makes 0.
  for (let i = 0; i < pointwise.length; i += 3) {
    const channel = Math.floor(i / width);
    dense[i * 9 + 4] = factors.dense[channel]! < 0 ? 0 : -0;
    pointwise[i] = factors.pointwise[channel]! < 0 ? 0 : -0;
  }
  return {dense, pointwise, factors};
}

for (const [channels, width] of [
  [1, 1],
  [3, 3],
  [8, 2],
  [12, 5],
  [16, 16],
  [24, 48],
  [40, 37],
] as const) {
  for (const identity of [true, false]) {
    test(`${channels} channels of ${width} are fused as in TypeScript, ${identity ? 'with' : 'without'} an identity`, t => {
      const fusion = new NativeFusion();
      const {dense, pointwise, factors} = makeRows(`${channels} ${width}`, channels, width, identity);
      const first = Math.floor(channels / 3);
      const part = dense.subarray(first * width * 9);
      const expected = new Float32Array(part.length);
      t.true(fuseRows(expected, part, pointwise, factors, first, width));

      const actual = new Float32Array(part.length).fill(NaN);
      t.true(fusion.fuseRows(actual, part, pointwise, factors, first, width));
      t.deepEqual(bytesOf(actual), bytesOf(expected));

      const inPlace = part.slice();
      t.true(fusion.fuseRows(inPlace, inPlace, pointwise, factors, first, width));
      t.deepEqual(bytesOf(inPlace), bytesOf(expected));

      const asFloat64 = Float64Array.from(part);
      t.true(fusion.fuseRows(actual.fill(NaN), asFloat64, pointwise, factors, first, width));
      t.deepEqual(bytesOf(actual), bytesOf(expected));
    });
  }
}

test('a number that is not finite is told, wherever it is', t => {
  const fusion = new NativeFusion();
  const [channels, width] = [4, 11];
  const fuse = (change: (rows: Rows) => void): boolean => {
    const rows = makeRows('finite', channels, width, true);
    change(rows);
    return fusion.fuseRows(rows.dense, rows.dense, rows.pointwise, rows.factors, 0, width);
  };
  t.true(fuse(() => {}));
  for (const bad of [NaN, Infinity, -Infinity, 3.4e38]) {
    for (let at = 0; at < channels * width * 9; at++) {
      t.false(
        fuse(({dense, factors}) => {
          factors.dense.fill(2);
          dense[at] = bad;
        }),
        `${bad} at ${at}`,
      );
    }
    for (let at = 0; at < channels * width; at++) {
      t.false(
        fuse(({pointwise, factors}) => {
          factors.pointwise.fill(2);
          pointwise[at] = bad;
        }),
        `${bad} at ${at} of 1x1`,
      );
    }
  }
  t.false(
    fuse(({factors}) => {
      factors.identity![2] = NaN;
    }),
  );
});

test('arrays that are too short for their block are refused', t => {
  const {dense, pointwise, factors} = makeRows('short', 4, 3, true);
  const fuse = (
    target: Float32Array,
    from = dense,
    points = pointwise,
    scales: BlockFactors = factors,
    first = 0,
    width = 3,
  ): boolean => native().fuseRows(target, from, points, scales, first, width);
  const target = new Float32Array(dense.length);
  t.true(fuse(target));
  for (const run of [
    () => fuse(target, dense.subarray(1)),
    () => fuse(target, dense, pointwise.subarray(1)),
    () => fuse(target, dense, pointwise, {...factors, dense: factors.dense.subarray(1)}),
    () => fuse(target, dense, pointwise, {...factors, pointwise: factors.pointwise.subarray(1)}),
    () => fuse(target, dense, pointwise, {...factors, identity: factors.identity!.subarray(1)}),
    () => fuse(target, dense, pointwise, factors, 1),
    () => fuse(target, dense, pointwise, factors, -1),
    () => fuse(target, dense, pointwise, factors, 0, 0),
  ])
    t.throws(run, {message: 'Expected arrays of the lengths of one block.'});
});

test('a file is fused in parts; one that has become shorter, or a load that is over, ends it', async t => {
  const [channels, width] = [40, 300]; // Of 1.7 MB in all, more than is worked on together.
  const {dense, pointwise, factors} = makeRows('file', channels, width, true);
  const path = join(await temporaryFolder(t), 'block');
  await writeFile(path, Buffer.concat([bytesOf(pointwise), bytesOf(dense)]));
  const file = await open(path, 'r+');
  t.teardown(() => file.close());
  const range = (position: number): NativeFileRange => ({descriptor: file.fd, position, checksum: true});
  const ranges = [range(pointwise.byteLength), range(0)] as const;
  const target = new Float32Array(dense.length);
  const fuse = (cancelled: number): ReturnType<NativeAddon['fuseFile']> =>
    native().fuseFile(target, ...ranges, factors, 0, channels, width, Uint8Array.of(cancelled));
  const expected = new Float32Array(dense.length);
  t.true(fuseRows(expected, dense, pointwise, factors, 0, width));
  t.like(await fuse(0), {finite: true});
  t.deepEqual(bytesOf(target), bytesOf(expected));
  t.is(await fuse(1), null);
  await file.truncate(pointwise.byteLength + dense.byteLength - 1);
  t.is(await fuse(0), null);
  await file.truncate(pointwise.byteLength - 1);
  t.is(await fuse(0), null);
});

test('a number that is not finite is seen, wherever it is', t => {
  const {allFinite} = native();
  const extremes = [3.4028234e38, -3.4028234e38, 1e-45, -0];
  t.true(allFinite(new Float32Array()));
  for (let length = 1; length < 70; length++) {
    const values = Float32Array.from({length}, (_, i) => extremes[i % 4]!);
    t.true(allFinite(values));
    for (const bad of [NaN, Infinity, -Infinity]) {
      const place = 31 % length;
      const before = values[place]!;
      values[place] = bad;
      t.false(allFinite(values), `${bad} at ${place} of ${length}`);
      t.is(allFinite(values.subarray(0, place)), true);
      values[place] = before;
    }
  }
});

const ownCrc32 = native().crc32;
(ownCrc32 ? test : test.skip)('checksums are those of zlib, of bytes of any length behind any others', t => {
  const bytes = Buffer.from(new Random('crc').uniform(3000, 0, 256));
  for (let length = 0; length < 600; length++) {
    const part = bytes.subarray(length % 17, (length % 17) + length);
    const before = crc32(bytes.subarray(0, length));
    t.is(ownCrc32!(part, 0), crc32(part));
    t.is(ownCrc32!(part, before), crc32(part, before));
  }
  t.is(ownCrc32!(bytes, 0), crc32(bytes));
});

test('checksums of parts are joined to that of the whole', t => {
  const bytes = Buffer.from(new Random('join').uniform(3000, 0, 256));
  for (const at of [0, 1, 2, 255, 256, 1000, 2999, 3000]) {
    const [before, behind] = [bytes.subarray(0, at), bytes.subarray(at)];
    t.is(native().joinCrc32(crc32(before), crc32(behind), behind.length), crc32(bytes));
  }
});

test('memory is used again as long as kernels do not get larger, and else freed', t => {
  const fusion = new NativeFusion();
  const [first, second] = [fusion.allocate(20), fusion.allocate(20)];
  const buffer = first.buffer;
  fusion.release(first);
  const again = fusion.allocate(8);
  t.is(again.buffer, buffer);
  t.is(again.length, 8);
  fusion.release(again);
  const larger = fusion.allocate(21);
  t.is(larger.length, 21);
  t.is(buffer.byteLength, 0);
  t.is(second.length, 20);
  fusion.release(second);
  t.is(second.length, 0);

  const foreign = new Float32Array(50);
  fusion.release(foreign);
  t.is(foreign.length, 0);
  fusion.release(larger);
  t.is(larger.length, 21);
  fusion.close();
  t.is(larger.length, 0);
});

test('when one part of a block fails, the others are cancelled, and waited for', async t => {
  const [channels, width] = [480, 300]; // Two parts.
  const {dense, pointwise, factors} = makeRows('parts', channels, width, false);
  const path = join(await temporaryFolder(t), 'block');
  await writeFile(path, Buffer.concat([bytesOf(pointwise), bytesOf(dense)]));
  const handle = await open(path, 'r');
  t.teardown(() => handle.close());
  const problem = new Error('the second part fails');
  const results: unknown[] = [];
  let parts = 0;
  /** Starts the first part after the second has failed. */
  const file = {
    async lend(work: (descriptor: number) => Promise<unknown>): Promise<unknown> {
      if (parts++ > 0) throw problem;
      await setTimeout(20);
      results.push(await work(handle.fd));
      return results.at(-1);
    },
  };
  const points = {file: {lend: (work: (descriptor: number) => unknown) => work(handle.fd)}, position: 0};
  const tensor = (shape: number[], range: object): TensorInfo =>
    ({shape, locate: async () => range}) as unknown as TensorInfo;
  const fused = new NativeFusion().fuse(
    0,
    tensor([channels, width, 3, 3], {file, position: pointwise.byteLength}),
    tensor([channels, width, 1, 1], points),
    factors,
  );
  await t.throwsAsync(fused, {is: problem});
  t.is(parts, 2);
  t.deepEqual(results, [null]);
});
