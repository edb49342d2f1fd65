import {readFileSync} from 'node:fs';
import {rm} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {fetchModel} from '../../ts/hub/fetch.ts';
import {networkFromCheckpoint} from '../checkpoints.ts';
import {config, id, setUp, weights} from './setup.ts';

const shard = (name: string): Buffer =>
  readFileSync(new URL(`../fixtures/checkpoints/sharded/${name}`, import.meta.url));
const indexName = 'model.safetensors.index.json';
const shardNames = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const sharded = Object.fromEntries([indexName, ...shardNames].map(name => [name, shard(name)]));
const sizes = Object.values(sharded).map(({length}) => length);

test('an index of safetensors comes with its files, and is a checkpoint', async t => {
  const {hub, environment} = await setUp(t, {files: {...sharded, 'pytorch_model.bin': weights}});
  const progress: number[][] = [];
  const fetched = await fetchModel(id, {onProgress: (...now) => progress.push(now)}, environment);
  const bytes = sizes.reduce((a, b) => a + b);
  t.like(fetched, {file: indexName, bytes, downloaded: bytes});
  t.deepEqual(progress.at(-1), [bytes - sizes[0]!, bytes - sizes[0]!]);
  await using checkpoint = await openCheckpoint(fetched.path);
  for (const tensor of checkpoint.tensors.values()) await tensor.read();
  t.is(checkpoint.format, 'index of several files');

  const {length} = hub.requests;
  const offline = {...environment, offline: true};
  t.like(await fetchModel(id, {}, offline), {path: fetched.path, bytes, downloaded: 0});
  t.is(hub.requests.length, length);
  await rm(join(dirname(fetched.path), shardNames[1]!));
  await t.throwsAsync(fetchModel(id, {}, offline), {message: /not in the cache/});
});

test("an index of PyTorch's files comes with these", async t => {
  const names = ['pytorch_model.bin.index.json', ...[1, 2].map(i => `pytorch_model-0000${i}-of-00002.bin`)];
  const part = (name: string): Buffer =>
    readFileSync(new URL(`../fixtures/dialects/sharded/${name}`, import.meta.url));
  const files = Object.fromEntries(names.map(name => [name, part(name)]));
  const {environment} = await setUp(t, {files});
  const fetched = await fetchModel(id, {}, environment);
  const bytes = Object.values(files).reduce((sum, {length}) => sum + length, 0);
  t.like(fetched, {file: names[0]!, bytes, downloaded: bytes});
  await using checkpoint = await openCheckpoint(fetched.path);
  t.is(networkFromCheckpoint(checkpoint).storedForm, 'train');
});

test('an index that names what is not in its repository', async t => {
  for (const [name, shown] of [
    ['model-2.safetensors', 'model-2.safetensors'],
    ['../../refs/main', '../../refs/main'],
    ['config.json', 'config.json'],
  ] as const) {
    const index = Buffer.from(JSON.stringify({weight_map: {x: name}}));
    const {environment} = await setUp(t, {
      files: {[indexName]: index, '../../refs/main': config, 'config.json': config},
    });
    await t.throwsAsync(fetchModel(id, {}, environment), {
      code: 'ERR_DOWNLOAD',
      message: new RegExp(`: ${indexName} names ${shown}, which is not in the repository\\.$`),
    });
  }
});
