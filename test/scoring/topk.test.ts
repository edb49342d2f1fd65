import test from 'ava';
import {type NativeTopK, native} from '../../ts/native/addon.ts';

/** Ranks the classes of a network whose logits are the biases given here, whatever the image. */
async function topK(logits: readonly number[], k: number): Promise<NativeTopK> {
  const block = {
    inChannels: 3,
    outChannels: 1,
    stride: 1 as const,
    groups: 1,
    identity: false,
    squeezeChannels: 0,
  };
  const network = new (native().Network)(
    {
      form: 'deploy',
      squeezeExcite: null,
      blocks: [block],
      numClasses: logits.length,
      height: 1,
      width: 1,
      mean: [0, 0, 0],
      std: [1, 1, 1],
    },
    {backend: 'cpu', precision: 'fp32', batchSize: 1, threads: 1},
  );
  await network.setBlock(0, {
    weight: new Float32Array(27),
    bias: new Float32Array(1),
    squeezeExcite: null,
  });
  await network.setLinear({weight: new Float32Array(logits.length), bias: Float32Array.from(logits)});
  const result = await network.runTopK({pixels: new Uint8Array(3), count: 1}, k, new Uint8Array(1));
  await network.dispose();
  return result;
}

test('the likeliest come first, and of equal ones the one with the lower index', async t => {
  t.deepEqual([...(await topK([1, 3, 2, 3, 1, 3], 6)).indices], [1, 3, 5, 2, 0, 4]);
  t.deepEqual([...(await topK([1, 3, 2, 3, 1, 3], 2)).indices], [1, 3]);
  const equal = await topK(Array(100).fill(-7), 100);
  t.deepEqual(
    [...equal.indices],
    Array.from({length: 100}, (_, i) => i),
  );
  t.true(equal.scores.every(score => Math.abs(score - 0.01) < 1e-7));
  // Zeros of both signs are equal.
  t.deepEqual([...(await topK([-0, 0, -0, 0], 4)).indices], [0, 1, 2, 3]);
});

test('scores are NaN where logits are not finite, and NaN ranks last', async t => {
  const nan = await topK([1, Number.NaN, 2, Number.NaN, 3], 5);
  t.deepEqual([...nan.indices], [4, 2, 0, 1, 3]);
  t.true(nan.scores.every(Number.isNaN));
  const infinite = await topK([1, Number.POSITIVE_INFINITY, 2], 3);
  t.deepEqual([...infinite.indices], [1, 2, 0]);
  t.true(infinite.scores.every(Number.isNaN));
});
