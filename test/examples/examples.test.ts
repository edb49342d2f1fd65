import {type ChildProcess, spawn} from 'node:child_process';
import {existsSync, readdirSync} from 'node:fs';
import {cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {parquetReadObjects} from 'hyparquet';
import {parquetWriteBuffer} from 'hyparquet-writer';
import {digits} from '../../ts/digits.ts';
import {startRedis, testWithRedis} from '../bullmq/redis.ts';
import {finish, type Output} from '../cli/run.ts';
import {temporaryFolder} from '../folder.ts';

// Examples are run as a user runs them who has copied them: in a project of their own, which `npm init` makes one of CommonJS, with
// what stands at their tops installed. Here that is this package, with the dist/ that `npm run build:ts` makes.
const root = fileURLToPath(new URL('../..', import.meta.url));
let project = '';

test.before(async () => {
  project = await mkdtemp(join(tmpdir(), 'repvgg-examples-'));
  await cp(join(root, 'examples'), project, {recursive: true});
  await writeFile(join(project, 'package.json'), '{"name": "user", "type": "commonjs"}');
  await mkdir(join(project, 'node_modules'));
  await symlink(root, join(project, 'node_modules/repvgg'));
  for (const name of ['express', 'bullmq', 'ioredis']) {
    await symlink(join(root, 'node_modules', name), join(project, 'node_modules', name));
  }
});

test.after.always(() => rm(project, {recursive: true, force: true}));

/** The class of a digit's file, 0003-3.png, is in its name. */
const names = readdirSync(digits.images).slice(0, 24);
const paths = names.map(name => join(digits.images, name));

function start(t: ExecutionContext, name: string, args: readonly string[], env = {}): ChildProcess {
  const child = spawn(process.execPath, [join(project, name), ...args], {env: {...process.env, ...env}});
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function run(t: ExecutionContext, name: string, args: readonly string[], input = ''): Promise<Output> {
  const child = start(t, name, args);
  child.stdin!.end(input);
  return finish(child);
}

async function readParquet(path: string): Promise<Record<string, unknown>[]> {
  const bytes = await readFile(path);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return (await parquetReadObjects({file})) as Record<string, unknown>[];
}

/** Most digits are read right; a wrong image, or results in another order, would make most of them wrong. */
function mostlyRight(t: ExecutionContext, rows: readonly (readonly [name: string, label: unknown])[]): void {
  const right = rows.filter(([name, label]) => name.endsWith(`-${label}.png`));
  t.true(right.length > 0.9 * rows.length, `${right.length} of ${rows.length}`);
}

test('every example is tested', async t => {
  const source = await readFile(fileURLToPath(import.meta.url), 'utf8');
  const examples = await readdir(new URL('../../examples/', import.meta.url));
  for (const name of examples) t.true(source.includes(`'${name}'`) || name === 'README.md', name);
});

test('an HTTP endpoint puts concurrent requests together', async t => {
  const server = start(t, 'http-endpoint.mjs', ['digits', '0']);
  const line: string = (await createInterface(server.stdout!)[Symbol.asyncIterator]().next()).value;
  const url = /http:\S+/.exec(line)![0];
  const post = async (body: Uint8Array, type: string): Promise<Response> =>
    fetch(url, {method: 'POST', body: new Uint8Array(body), headers: {'content-type': type}});
  const responses = await Promise.all(paths.map(async path => post(await readFile(path), 'image/png')));
  t.true(responses.some(({headers}) => Number(headers.get('x-batch-size')) > 1));
  const labels = await Promise.all(
    responses.map(async r => ((await r.json()) as {label: string}[])[0]!.label),
  );
  mostlyRight(
    t,
    labels.map((label, i) => [names[i]!, label]),
  );

  const damaged = await post(Buffer.from('no image'), 'image/png');
  t.is(damaged.status, 422);
  t.is(((await damaged.json()) as {code: string}).code, 'ERR_IMAGE_DECODE');
  t.is((await post(Buffer.from('{}'), 'application/json')).status, 415);

  const exited = new Promise(resolve => server.once('exit', resolve));
  server.kill('SIGTERM');
  t.is(await exited, 0);
});

test('a folder becomes a Parquet file', async t => {
  const output = join(await temporaryFolder(t), 'labels.parquet');
  const {code, stdout, stderr} = await run(t, 'folder-to-parquet.mjs', [digits.images, output]);
  t.deepEqual([code, stderr], [0, '']);
  t.regex(stdout, /^\d+ images scored, 0 failed\n$/);
  const rows = await readParquet(output);
  t.is(rows.length, (await readdir(digits.images)).length);
  mostlyRight(
    t,
    rows.map(({id, label}) => [String(id), label]),
  );
});

test('a Parquet file of images becomes one of embeddings', async t => {
  const folder = await temporaryFolder(t);
  const [input, output] = [join(folder, 'in.parquet'), join(folder, 'out.parquet')];
  const columnData = [
    {name: 'id', data: names},
    {name: 'image', data: await Promise.all(paths.map(path => readFile(path))), type: 'BYTE_ARRAY' as const},
    {name: 'digit', data: names.map(name => Number(name.at(-5)))},
  ];
  await writeFile(input, Buffer.from(parquetWriteBuffer({columnData})));
  const {code, stdout, stderr} = await run(t, 'parquet-embeddings.mjs', [input, output, 'digits', 'digit']);
  t.deepEqual([code, stderr], [0, '']);
  const length = Number(/embeddings of (\d+) numbers, 0 images failed/.exec(stdout)![1]);
  const rows = await readParquet(output);
  t.deepEqual(
    rows.map(({id}) => id),
    names,
  );
  t.deepEqual(
    rows.map(row => Number(row['fields.digit'])),
    names.map(name => Number(name.at(-5))),
  );
  for (const {embedding} of rows) {
    t.is((embedding as number[]).length, length);
    t.true((embedding as number[]).some(value => value > 0));
  }
});

test('a stream of paths becomes one of rows', async t => {
  const {code, stdout, stderr} = await run(t, 'stream-pipeline.mjs', [], [...paths, 'none.png'].join('\n'));
  t.is(code, 0);
  t.is(stderr, `${paths.length} images scored, 1 failed\n`);
  const rows = stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  t.deepEqual(
    rows.map(({id}) => id),
    [...paths, 'none.png'],
  );
  t.is(rows.pop().error.code, 'ERR_FILE_NOT_FOUND');
  mostlyRight(
    t,
    rows.map(({id, label}) => [id, label]),
  );
});

for (const [name, args] of [
  ['stream-pipeline.mjs', []],
  ['worker-threads.mjs', ['digits', ...Array.from({length: 40}, () => paths).flat()]],
] as const) {
  test(`${name} ends quietly when its reader goes away, as head does`, async t => {
    const child = start(t, name, args);
    const exited = new Promise(resolve => child.once('exit', resolve));
    const errors: Buffer[] = [];
    child.stderr!.on('data', (chunk: Buffer) => errors.push(chunk));
    child.stdin!.on('error', () => {}); // It is not read to its end.
    child.stdin!.end(Array.from({length: 40}, () => paths.join('\n')).join('\n'));
    child.stdout!.once('data', () => child.stdout!.destroy());
    t.is(await exited, 0);
    t.regex(Buffer.concat(errors).toString(), /^(\d+ images scored, 0 failed\n)?$/);
  });
}

test('examples that need to be told more say what, without a stack', async t => {
  for (const name of [
    'folder-to-parquet.mjs',
    'parquet-embeddings.mjs',
    'worker-threads.mjs',
    'bullmq.mjs',
  ]) {
    const {code, stdout, stderr} = await run(t, name, []);
    t.deepEqual([code, stdout], [2, ''], name);
    t.regex(stderr, new RegExp(`^usage: node ${name} .*\n$`));
  }
});

test('a model in a worker thread', async t => {
  const {code, stdout, stderr} = await run(t, 'worker-threads.mjs', ['digits', ...paths, 'none.png']);
  t.deepEqual([code, stderr], [0, '']);
  const lines = stdout.trimEnd().split('\n');
  t.is(lines.length, paths.length + 1);
  t.true(lines.includes('none.png: Cannot read image none.png: no such file.'));
  const read = lines.filter(line => !line.startsWith('none'));
  mostlyRight(
    t,
    read.map(line => /^(.*): (\d) /.exec(line)!.slice(1) as [string, string]),
  );
});

testWithRedis('shards shared out by a queue', async t => {
  const folder = await temporaryFolder(t);
  const env = {REDIS_SOCKET: (await startRedis(t)).path};
  const output = join(folder, 'rows');
  await mkdir(output);
  const names = ['7', 'b:c']; // BullMQ accepts neither as the id of a job.
  const shards = names.map(name => join(folder, `${name}.txt`));
  for (const [i, shard] of shards.entries()) {
    await writeFile(shard, paths.filter((_, path) => path % 2 === i).join('\n'));
  }
  const twice = await finish(start(t, 'bullmq.mjs', ['add', output, shards[0]!, `/other/7.tar`], env));
  t.is(twice.code, 1);
  t.regex(twice.stderr, /Shards need different file names/);
  const worker = start(t, 'bullmq.mjs', ['work'], env);
  const added = start(t, 'bullmq.mjs', ['add', output, ...shards], env);
  const {code, stdout, stderr} = await finish(added);
  t.deepEqual([code, stdout, stderr], [0, '2 shards done, 0 failed\n', '']);
  const exited = new Promise(resolve => worker.once('exit', resolve));
  worker.kill('SIGTERM');
  t.is(await exited, 0);
  t.true(existsSync(join(output, '7.ndjson')));
  const texts = await Promise.all(names.map(name => readFile(join(output, `${name}.ndjson`), 'utf8')));
  const rows = texts
    .join('')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  t.deepEqual(rows.map(({id}) => id).sort(), [...paths].sort());
});
