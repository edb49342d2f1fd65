import {existsSync, readFileSync} from 'node:fs';
import {rm} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {convertCheckpoint} from '../../ts/convert.ts';
import {digits} from '../../ts/digits.ts';
import {exportOnnx} from '../../ts/export.ts';
import {fetchModel} from '../../ts/hub/fetch.ts';
import {verifyCheckpoint} from '../../ts/verify.ts';
import {temporaryFolder} from '../cli/run.ts';
import {commit, startHub} from './server.ts';
import {config, id, setUp, weights} from './setup.ts';

test("timm's config.json comes with weights of the usual names, and is not counted", async t => {
  const {hub, environment} = await setUp(t);
  const {path, bytes} = await fetchModel(id, {}, environment);
  t.true(readFileSync(join(dirname(path), 'config.json')).equals(config));
  t.is(bytes, weights.length);
  // Also where another program has fetched the weights alone.
  await rm(join(dirname(path), 'config.json'));
  t.like(await fetchModel(id, {}, environment), {path, downloaded: 0});
  t.true(existsSync(join(dirname(path), 'config.json')));

  const {environment: other} = await setUp(t, {files: {'config.json': config, 'weights.pth': weights}});
  const {path: alone} = await fetchModel(id, {}, other);
  t.false(existsSync(join(dirname(alone), 'config.json')));
  t.true(hub.requests.some(request => request.includes('config.json')));
});

/** What a fetch returns, and the warnings that it causes. For serial tests. */
async function withWarnings<Result>(work: () => Promise<Result>): Promise<[Result, string[]]> {
  const warnings: string[] = [];
  const listen = (warning: Error & {code?: string}): number =>
    warnings.push(`${warning.code}: ${warning.message}`);
  process.on('warning', listen);
  const result = await work();
  await new Promise(setImmediate);
  process.off('warning', listen);
  return [result, warnings];
}

test.serial(
  'weights of a commit that are in the cache alone get their config.json, or a warning',
  async t => {
    const {environment} = await setUp(t);
    const pinned = `${id}@${commit}`;
    const {path} = await fetchModel(pinned, {}, environment);
    const beside = join(dirname(path), 'config.json');
    const used = `ERR_DOWNLOAD: The weights of ${id} are used without the preprocessing and labels that its config.json may have.`;
    const private_ = await startHub({});
    t.teardown(() => private_.close());
    for (const [settings, why] of [
      [
        {offline: true},
        'HF_HUB_OFFLINE is set and config.json is not in the cache; fetch it once without that variable',
      ],
      [{endpoint: 'http://127.0.0.1:9'}, 'fetch failed'],
      [{endpoint: private_.endpoint}, 'there is no such model'],
    ] as const) {
      await rm(beside, {force: true});
      const given = {...environment, ...settings};
      const [fetched, [warning, ...others]] = await withWarnings(() => fetchModel(pinned, {}, given));
      t.like(fetched, {path, downloaded: 0});
      t.true(warning!.startsWith(`${used} Cannot fetch ${id} from ${given.endpoint}: ${why}`), warning);
      t.deepEqual(others, []);
      t.false(existsSync(beside));
    }
    const [, warnings] = await withWarnings(() => fetchModel(pinned, {}, environment));
    t.deepEqual(warnings, []);
    t.true(readFileSync(beside).equals(config));
  },
);

test.serial('that a model has no config.json is asked once', async t => {
  const {hub, environment} = await setUp(t, {files: {'pytorch_model.bin': weights}});
  const pinned = `${id}@${commit}`;
  await fetchModel(id, {}, environment);
  const {length} = hub.requests;
  for (const settings of [{}, {offline: true}]) {
    const [fetched, warnings] = await withWarnings(() =>
      fetchModel(pinned, {}, {...environment, ...settings}),
    );
    t.is(fetched.downloaded, 0);
    t.deepEqual(warnings, []);
  }
  t.is(hub.requests.length, length);
});

test.serial('whatever takes an id tells of its download', async t => {
  const {hub, environment} = await setUp(t, {
    files: {'pytorch_model.bin': readFileSync(digits.checkpoint)},
  });
  const {bytes} = await fetchModel(id, {}, environment);
  const folder = await temporaryFolder(t);
  for (const [i, work] of [
    (onProgress: Told) => convertCheckpoint(id, join(folder, 'a.pth'), {onProgress}),
    (onProgress: Told) => exportOnnx(id, join(folder, 'a.onnx'), {onProgress}),
    (onProgress: Told) => verifyCheckpoint(id, {onProgress, random: 1, preprocessing: {crop: 32}}),
  ].entries()) {
    Object.assign(process.env, {HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, String(i)), HF_TOKEN: ''});
    const told: number[][] = [];
    await work((...now) => told.push(now));
    t.deepEqual(told[0], [0, bytes]);
    t.deepEqual(told.at(-1), [bytes, bytes]);
  }
});

type Told = (received: number, total: number) => void;
