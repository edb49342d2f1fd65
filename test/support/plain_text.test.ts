import test from 'ava';
import {fromJson} from '../../ts/support/plain_text.ts';
import {Random} from '../random.ts';

test('whole numbers that a double cannot hold are text', t => {
  const json = '[9007199254740993, -9007199254740993, 9007199254740991, 1e30, 12345678901234567.5, 0]';
  t.deepEqual(fromJson(json), [
    '9007199254740993',
    '-9007199254740993',
    9007199254740991,
    1e30,
    Number('12345678901234567.5'),
    0,
  ]);
  const inStrings = {'12345678901234567': ['\\', '\\"12345678901234567', 'a"', '\\\\12345678901234567"']};
  t.deepEqual(fromJson(JSON.stringify(inStrings)), inStrings);
  t.throws(() => fromJson('{"a": 12345678901234567'), {instanceOf: SyntaxError});
});

test('strings of all kinds of characters stay as they are', t => {
  const random = new Random('strings');
  for (let i = 0; i < 500; i++) {
    const text = Array.from(
      random.uniform(12, 0, 6),
      at => ['"', '\\', '1', '\n', 'é', '{'][Math.floor(at)]!,
    ).join('');
    const value = {[text]: [text, 1, {a: text}], n: '12345678901234567'};
    t.deepEqual(fromJson(JSON.stringify(value).replace('"12345678901234567"', '12345678901234567')), value);
  }
});

test('millions of escapes beside a large number take no stack, and little time', t => {
  const value = {id: '12345678901234567', text: '"\\'.repeat(3_000_000)};
  const json = JSON.stringify(value).replace('"12345678901234567"', '12345678901234567');
  const start = performance.now();
  t.deepEqual(fromJson(json), value);
  t.true(performance.now() - start < 10_000);
});
