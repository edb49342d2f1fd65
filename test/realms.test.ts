/** Arrays of another realm, which is what code under Jest gets from native addons: their constructors are not those of this file. */
import {readFile} from 'node:fs/promises';
import {runInNewContext} from 'node:vm';
import test from 'ava';
import {loadNetwork} from '../ts/loading/load_network.ts';
import {RepVGG} from '../ts/model.ts';
import type {NativeNetwork} from '../ts/native/addon.ts';
import {photo} from './fixtures.ts';

const foreign = runInNewContext('({Uint8Array, Uint8ClampedArray, Float32Array})') as typeof globalThis;

test('images in arrays of another realm are images, and imitations of arrays are none', async t => {
  await using model = await RepVGG.load('digits', {device: 'cpu'});
  const {crop} = model.preprocessing;
  const file = await readFile(photo('chelsea.jpg'));
  const grey = new Uint8Array(crop * crop).map((_, i) => i);
  const raw = {data: grey, width: crop, height: crop, channels: 1} as const;
  const own = await model.logits([file, raw, raw]);
  const others = await model.logits([
    foreign.Uint8Array.from(file),
    {...raw, data: foreign.Uint8Array.from(grey)},
    {...raw, data: foreign.Uint8ClampedArray.from(grey)},
  ]);
  t.false(foreign.Uint8Array.from(file) instanceof Uint8Array);
  t.deepEqual(others, own);
  for (const data of [Object.create(Uint8Array.prototype), new Proxy(grey, {})]) {
    await t.throwsAsync(model.logits([{...raw, data}]), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^Expected a Uint8Array of pixels/,
    });
  }
});

test("logits and embeddings are arrays of the caller's realm", async t => {
  const loaded = await loadNetwork('digits', {device: 'cpu'});
  const network: Pick<NativeNetwork, 'run' | 'dispose'> = {
    run: async (...batch) => foreign.Float32Array.from(await loaded.network.run(...batch)),
    dispose: () => loaded.network.dispose(),
  };
  const Model = RepVGG as unknown as new (loaded: object) => RepVGG; // Its constructor is private.
  await using model = new Model({...loaded, network});
  const [logits] = await model.logits([photo('chelsea.jpg')]);
  const [embedding] = await model.embed([photo('chelsea.jpg')]);
  t.true(logits instanceof Float32Array && embedding instanceof Float32Array);
  t.deepEqual([logits!.length, embedding!.length], [10, model.architecture.widths[4]]);
});
