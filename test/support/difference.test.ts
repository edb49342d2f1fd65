import test from 'ava';
import {argmax, differenceOf} from '../../ts/support/difference.ts';

test('the difference of two outputs', t => {
  const expected = Float32Array.of(3, 0, -4);
  t.deepEqual(differenceOf(expected, expected), {squared: 0, relative: 0, largest: 0});
  t.deepEqual(differenceOf(Float32Array.of(3, 1, -2), expected), {
    squared: 5,
    relative: Math.sqrt(0.2),
    largest: 2,
  });
  t.is(differenceOf(Float32Array.of(1), Float32Array.of(0)).relative, Number.POSITIVE_INFINITY);
  t.is(differenceOf(new Float32Array(2), new Float32Array(2)).relative, 0);
});

test('NaN, and an output that is too short, differ by NaN', t => {
  const nothing = {squared: Number.NaN, relative: Number.NaN, largest: Number.NaN};
  t.deepEqual(differenceOf(Float32Array.of(Number.NaN, 9), Float32Array.of(1, 2)), nothing);
  t.deepEqual(differenceOf(Float32Array.of(1, 9), Float32Array.of(Number.NaN, 2)), nothing);
  t.deepEqual(differenceOf(Float32Array.of(1), Float32Array.of(1, 2)), nothing);
});

test('of equal values the first is the largest', t => {
  t.is(argmax(Float32Array.of(1, 5, 2, 5)), 1);
});
