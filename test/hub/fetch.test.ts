import {once} from 'node:events';
import {existsSync, readFileSync, renameSync, watch, writeFileSync} from 'node:fs';
import {mkdir, readlink, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {homedir} from 'node:os';
import {dirname, join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import test from 'ava';
import {digits} from '../../ts/digits.ts';
import {hubEnvironment} from '../../ts/hub/environment.ts';
import {fetchModel} from '../../ts/hub/fetch.ts';
import {isHubId} from '../../ts/hub/id.ts';
import {verifyCheckpoint} from '../../ts/verify.ts';
import {jsonLines, repvgg, temporaryFolder} from '../cli/run.ts';
import {commit, sha256, startHub} from './server.ts';
import {config, id, setUp, weights} from './setup.ts';

test('the weights come into the cache, as other clients lay it out, and only once', async t => {
  const {hub, environment, folder} = await setUp(t);
  const progress: number[][] = [];
  const onProgress = (received: number, total: number): number => progress.push([received, total]);
  const fetched = await fetchModel(id, {onProgress}, environment);
  const path = join(folder, 'snapshots', commit, 'pytorch_model.bin');
  const expected = {id, file: 'pytorch_model.bin', commit, path, bytes: weights.length};
  t.deepEqual(fetched, {...expected, downloaded: weights.length});
  t.true(readFileSync(path).equals(weights));
  t.is(await readlink(path), join('..', '..', 'blobs', sha256(weights)));
  t.is(readFileSync(join(folder, 'refs', 'main'), 'utf8'), commit);
  t.deepEqual(progress[0], [0, weights.length]);
  t.deepEqual(progress.at(-1), [weights.length, weights.length]);

  const {sent} = hub;
  t.deepEqual(await fetchModel(id, {}, environment), {...expected, downloaded: 0});
  t.is(hub.sent, sent);
});

test('an interrupted download goes on where it ended', async t => {
  const {hub, environment, folder} = await setUp(t, {cuts: [1_000_000]});
  await t.throwsAsync(fetchModel(id, {}, environment), {code: 'ERR_DOWNLOAD'});
  // A connection that is cut may lose the last of what was sent.
  const {length} = readFileSync(join(folder, 'blobs', `${sha256(weights)}.incomplete`));
  t.true(length > 0 && length <= 1_000_000);
  const {path, downloaded} = await fetchModel(id, {}, environment);
  t.is(downloaded, weights.length - length);
  t.true(readFileSync(path).equals(weights));
  t.true(hub.requests.some(request => request.endsWith(`bytes=${length}-${weights.length - 1}`)));
  t.false(existsSync(join(folder, 'blobs', `${sha256(weights)}.incomplete`)));
});

test('a server without ranges sends a file at once, and all of it again where it was interrupted', async t => {
  const {environment, folder} = await setUp(t, {withoutRanges: true});
  const {path} = await fetchModel(id, {}, environment);
  t.true(readFileSync(path).equals(weights));

  const {environment: other, folder: rest} = await setUp(t, {withoutRanges: true, cuts: [1_000_000]});
  await t.throwsAsync(fetchModel(id, {}, other), {code: 'ERR_DOWNLOAD'});
  const left = readFileSync(join(rest, 'blobs', `${sha256(weights)}.incomplete`));
  t.true(left.length > 0 && left.length <= 1_000_000 && left.equals(weights.subarray(0, left.length)));
  const resumed = await fetchModel(id, {}, other);
  t.is(resumed.downloaded, weights.length);
  t.true(readFileSync(resumed.path).equals(weights));
  t.false(existsSync(join(folder, 'blobs', `${sha256(weights)}.incomplete`)));
});

for (const [what, rest] of [
  ['a part', Buffer.alloc(1_000_000)],
  ['all bytes', Buffer.alloc(weights.length)],
  ['too many bytes', Buffer.alloc(weights.length + 1)],
] as const) {
  test(`${what} of something else in place of an interrupted download is downloaded again at once`, async t => {
    const {environment, folder} = await setUp(t);
    await mkdir(join(folder, 'blobs'), {recursive: true});
    await writeFile(join(folder, 'blobs', `${sha256(weights)}.incomplete`), rest);
    const {path} = await fetchModel(id, {}, environment);
    t.true(readFileSync(path).equals(weights));
  });
}

test('what does not have its checksum is removed', async t => {
  const {environment, folder} = await setUp(t, {corrupt: true, files: {'pytorch_model.bin': weights}});
  const message = new RegExp(`^Cannot fetch ${id} .* checksum ${sha256(weights)}, so it was removed`);
  await t.throwsAsync(fetchModel(id, {}, environment), {code: 'ERR_DOWNLOAD', message});
  t.false(existsSync(join(folder, 'blobs', `${sha256(weights)}.incomplete`)));
  t.false(existsSync(join(folder, 'snapshots')));
});

test("a file that is in git itself is verified by git's checksum", async t => {
  const {environment} = await setUp(t);
  const {path} = await fetchModel(id, {file: 'config.json'}, environment);
  t.true(readFileSync(path).equals(config));
  const {environment: corrupt} = await setUp(t, {corrupt: true});
  await t.throwsAsync(fetchModel(id, {file: 'config.json'}, corrupt), {message: /checksum/});
});

test('safetensors come before pickles, and of other names a file that is alone', async t => {
  for (const [names, chosen] of [
    [['pytorch_model.bin', 'model.safetensors'], 'model.safetensors'],
    [['README.md', 'weights.pth'], 'weights.pth'],
    [['a.pth', 'b.pth'], null],
    [['README.md'], null],
  ] as const) {
    const {environment} = await setUp(t, {files: Object.fromEntries(names.map(name => [name, weights]))});
    const fetched = fetchModel(id, {}, environment);
    if (chosen) t.is((await fetched).file, chosen);
    else await t.throwsAsync(fetched, {message: /it has no file of weights among its files: /});
  }
});

test('offline, the cache has to have it, and nobody is asked', async t => {
  const {hub, environment} = await setUp(t);
  const offline = {...environment, offline: true};
  await t.throwsAsync(fetchModel(id, {}, offline), {code: 'ERR_DOWNLOAD', message: /not in the cache/});
  t.deepEqual(hub.requests, []);
  const {path} = await fetchModel(id, {}, environment);
  const {length} = hub.requests;
  t.like(await fetchModel(id, {}, offline), {path, commit, file: 'pytorch_model.bin', downloaded: 0});
  t.like(await fetchModel(`${id}@${commit}`, {}, offline), {path});
  await t.throwsAsync(fetchModel(`${id}@v2`, {}, offline), {message: /not in the cache/});
  t.is(hub.requests.length, length);
});

test('nobody is asked about a commit whose file is in the cache', async t => {
  const {hub, environment} = await setUp(t);
  const pinned = `${id}@${commit}`;
  const {path, downloaded} = await fetchModel(pinned, {}, environment);
  t.true(downloaded > 0);
  const {length} = hub.requests;
  t.like(await fetchModel(pinned, {}, environment), {path, downloaded: 0});
  t.is(hub.requests.length, length);
  await t.throwsAsync(fetchModel(pinned, {file: 'other.bin'}, environment), {
    message: /it has no other\.bin/,
  });
  await fetchModel(id, {}, environment);
  t.true(hub.requests.length > length + 1); // A branch may have moved.
});

test('what is in the cache is taken where the hub cannot be reached, but not where it refuses', async t => {
  const {environment} = await setUp(t);
  const {path} = await fetchModel(id, {}, environment);
  const nobody = {...environment, endpoint: 'http://127.0.0.1:9'};
  t.like(await fetchModel(id, {}, nobody), {path, downloaded: 0});
  const other = await startHub({});
  t.teardown(() => other.close());
  await t.throwsAsync(fetchModel(id, {}, {...environment, endpoint: other.endpoint}), {message: /private/});
});

test('what is in the cache is taken where the hub is busy or out of order', async t => {
  const {environment} = await setUp(t);
  const {path} = await fetchModel(id, {}, environment);
  for (const status of [429, 500, 503]) {
    const broken = createServer((_, response) => response.writeHead(status).end()).listen(0, '127.0.0.1');
    await once(broken, 'listening');
    t.teardown(() => broken.close());
    const endpoint = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`;
    t.like(await fetchModel(id, {}, {...environment, endpoint}), {path, downloaded: 0});
    const empty = await temporaryFolder(t);
    const nothing = fetchModel(id, {}, {...environment, endpoint, cache: empty});
    await t.throwsAsync(nothing, {code: 'ERR_DOWNLOAD'}, String(status));
  }
});

test('a cache that has everything is not written', async t => {
  const {environment, folder} = await setUp(t);
  await fetchModel(id, {}, environment);
  const changes = watch(folder, {recursive: true});
  const changed: unknown[] = [];
  changes.on('change', (_, name) => changed.push(name));
  await fetchModel(id, {}, environment);
  await writeFile(join(folder, 'end'), '');
  while (!changed.includes('end')) await setTimeout(10);
  changes.close();
  t.deepEqual(new Set(changed), new Set(['end']));
});

test('a private model needs the token, which goes to the hub alone', async t => {
  const {environment} = await setUp(t, {token: 'hf_secret'});
  await t.throwsAsync(fetchModel(id, {}, environment), {message: /private and HF_TOKEN is not set\.$/});
  await t.throwsAsync(fetchModel(id, {}, {...environment, token: 'hf_other'}), {
    message: /may not read it\.$/,
  });
  t.is((await fetchModel(id, {}, {...environment, token: 'hf_secret'})).downloaded, weights.length);
});

test('what is wrong is said', async t => {
  const {environment} = await setUp(t);
  await t.throwsAsync(fetchModel('timm/repvgg_a9', {}, environment), {
    message: /^Cannot fetch timm\/repvgg_a9 from http.*: there is no such model/,
  });
  await t.throwsAsync(fetchModel(`${id}@v9`, {}, environment), {message: /no revision v9\.$/});
  await t.throwsAsync(fetchModel(id, {file: 'x.pth'}, environment), {
    message: /it has no x\.pth among its files: config/,
  });
  const nobody = {...environment, endpoint: 'http://127.0.0.1:9'};
  await t.throwsAsync(fetchModel(id, {}, nobody), {
    code: 'ERR_DOWNLOAD',
    message: /127\.0\.0\.1:9: fetch failed: /,
  });
  await t.throwsAsync(fetchModel('no id', {}, environment), {code: 'ERR_INVALID_ARGUMENT'});
});

test('an abort ends a download with its reason', async t => {
  const {environment, folder} = await setUp(t);
  const abort = new AbortController();
  const onProgress = (received: number): void => {
    if (received > 0) abort.abort(new Error('enough'));
  };
  await t.throwsAsync(fetchModel(id, {onProgress, signal: abort.signal}, environment), {message: 'enough'});
  t.true(existsSync(join(folder, 'blobs', `${sha256(weights)}.incomplete`)));
});

test('an abort is heard while what an earlier download left is verified', async t => {
  const {environment, folder} = await setUp(t);
  const blob = join(folder, 'blobs', sha256(weights));
  await mkdir(dirname(blob), {recursive: true});
  await writeFile(`${blob}.incomplete`, weights);
  const abort = new AbortController();
  const onProgress = (): void => abort.abort(new Error('enough'));
  await t.throwsAsync(fetchModel(id, {onProgress, signal: abort.signal}, environment), {message: 'enough'});
  t.false(existsSync(blob));
  t.is((await fetchModel(id, {}, environment)).downloaded, 0);
});

test('an abort ends a verification that waits for the hub', async t => {
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => {
    silent.closeAllConnections();
    silent.close();
  });
  const {port} = silent.address() as AddressInfo;
  Object.assign(process.env, {HF_ENDPOINT: `http://127.0.0.1:${port}`, HF_HOME: await temporaryFolder(t)});
  const abort = new AbortController();
  silent.once('request', () => abort.abort(new Error('enough')));
  const late = setTimeout(10_000, 'it goes on', {ref: false});
  const verified = verifyCheckpoint('me/digits', {signal: abort.signal});
  await t.throwsAsync(Promise.race([verified, late]), {message: 'enough'});
});

test('a resumed download that another process completes first is complete', async t => {
  const {environment, folder} = await setUp(t);
  const blob = join(folder, 'blobs', sha256(weights));
  await mkdir(dirname(blob), {recursive: true});
  await writeFile(`${blob}.incomplete`, weights.subarray(0, 1_000_000));
  let others = 0;
  const onProgress = (received: number): void => {
    if (received < weights.length || others++ > 0) return;
    writeFileSync(`${blob}.incomplete`, weights);
    renameSync(`${blob}.incomplete`, blob);
  };
  const {path} = await fetchModel(id, {onProgress}, environment);
  t.is(others, 1);
  t.true(readFileSync(path).equals(weights));
});

test('two at a time end with one file', async t => {
  const {environment} = await setUp(t);
  const both = await Promise.all([fetchModel(id, {}, environment), fetchModel(id, {}, environment)]);
  for (const {path} of both) t.true(readFileSync(path).equals(weights));
});

test('the environment variables of huggingface_hub', async t => {
  const home = await temporaryFolder(t);
  await writeFile(join(home, 'token'), 'hf_file\n');
  t.deepEqual(await hubEnvironment({HF_HOME: home}), {
    endpoint: 'https://huggingface.co',
    cache: join(home, 'hub'),
    offline: false,
    token: 'hf_file',
  });
  const variables = {
    HF_HOME: home,
    HF_ENDPOINT: 'https://mirror.example/',
    HF_HUB_CACHE: '/cache',
    HF_HUB_OFFLINE: 'YES',
    HF_TOKEN: ' hf_variable ',
  };
  t.deepEqual(await hubEnvironment(variables), {
    endpoint: 'https://mirror.example',
    cache: '/cache',
    offline: true,
    token: 'hf_variable',
  });
  t.is((await hubEnvironment({HF_HOME: '~/models'})).cache, join(homedir(), 'models', 'hub'));
  t.is((await hubEnvironment({HF_HUB_CACHE: '~'})).cache, homedir());
  t.like(await hubEnvironment({XDG_CACHE_HOME: '/xdg', HF_HUB_OFFLINE: '0', HF_TOKEN: ''}), {
    cache: '/xdg/huggingface/hub',
    offline: false,
    token: undefined,
  });
});

test('an id is told from a file', t => {
  for (const text of [id, 'user/net', 'user/net@main', `user/net@${commit}`, 'user/net@refs/pr/1'])
    t.true(isHubId(text), text);
  for (const text of [
    'digits',
    'RepVGG-A0-train.pth',
    'weights/a0.pth',
    './weights/a0',
    '/tmp/a0',
    '../a0',
    'a/b/c',
    'user/model.safetensors',
    'user/model.safetensors.index.json',
    'weights/a0.pdparams',
    'weights/a0.pth.gz',
    'user/net@../x',
    'C:\\a/b',
    '',
  ])
    t.false(isHubId(text), text);
});

test('commands take an id where they take a checkpoint, and a file of that name comes first', async t => {
  const network = {files: {'pytorch_model.bin': readFileSync(digits.checkpoint)}};
  const hub = await startHub({'me/digits': network});
  t.teardown(() => hub.close());
  const folder = await temporaryFolder(t);
  const env = {HF_ENDPOINT: hub.endpoint, HF_HOME: folder, HF_TOKEN: ''};
  const settings = {env, cwd: folder};
  const fetched = await repvgg(['fetch', 'me/digits', '--json'], settings);
  t.like(jsonLines(fetched)[0], {id: 'me/digits', file: 'pytorch_model.bin', commit});
  t.is(fetched.stderr, '');
  const again = await repvgg(['fetch', 'me/digits'], settings);
  t.regex(
    again.stdout,
    /^pytorch_model\.bin at 0123\w+ is already in the cache \([\d,]+ bytes\)\n.*snapshots.*\n$/,
  );
  const {stdout, code} = await repvgg(['info', 'me/digits'], settings);
  t.is(code, 0);
  t.regex(stdout, /^parameters as trained +164,650$/m);
  const verified = await repvgg(['verify', 'me/digits', '--random', '1', '--crop', '32'], {
    ...settings,
    env: {...env, HF_HUB_OFFLINE: '1'},
  });
  t.is(verified.code, 0);
  for (const offline of ['0', '1']) {
    const mistyped = {...settings, env: {...env, HF_HUB_OFFLINE: offline}};
    const {stderr} = await repvgg(['info', 'modles/a0'], mistyped);
    t.regex(stderr, offline === '1' ? /HF_HUB_OFFLINE is set/ : /there is no such model/);
    t.regex(stderr, /; there is no file or folder modles\/a0 either\. \(ERR_DOWNLOAD\)$/m);
  }
  await mkdir(join(folder, 'me'));
  await writeFile(join(folder, 'me', 'digits'), 'text');
  t.regex((await repvgg(['info', 'me/digits'], settings)).stderr, /\(ERR_CHECKPOINT_FORMAT\)/);
});
