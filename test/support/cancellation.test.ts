import {getEventListeners} from 'node:events';
import test from 'ava';
import {raiseOnAbort} from '../../ts/support/cancellation.ts';

test('an abort raises the flags of all calls that are still under way, through one listener', t => {
  const controller = new AbortController();
  const {signal} = controller;
  const flags = Array.from({length: 12}, () => new Uint8Array(1));
  const forgets = flags.map(flag => raiseOnAbort(signal, flag));
  t.is(getEventListeners(signal, 'abort').length, 1);
  forgets[3]!();
  const other = new Uint8Array(1);
  raiseOnAbort(new AbortController().signal, other);
  controller.abort();
  t.deepEqual(
    flags.map(([flag]) => flag),
    flags.map((_, i) => (i === 3 ? 0 : 1)),
  );
  t.is(other[0], 0);
  for (const forget of forgets) forget();
  t.is(getEventListeners(signal, 'abort').length, 0);
});
