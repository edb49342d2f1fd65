import {type ChildProcess, spawn} from 'node:child_process';
import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {setTimeout as sleep} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {ExecutionContext} from 'ava';
import {Queue, QueueEvents} from 'bullmq';
import {parquetWriteBuffer} from 'hyparquet-writer';
import {createShardWorker, type ShardJob, type ShardResult} from '../../ts/bullmq.ts';
import {digits} from '../../ts/digits.ts';
import {RepVGG} from '../../ts/model.ts';
import {temporaryFolder} from '../folder.ts';
import {startRedis, testWithRedis} from './redis.ts';

interface Row {
  id: string;
  label?: string;
  error?: {code: string};
}

const readRows = async (path: string): Promise<Row[]> =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Row);

const shardCount = 6;
const rowCount = 600;

/** Shards of handwritten digits, each with one image that is not there. Ids are "SHARD-ROW". */
async function writeShards(folder: string): Promise<ShardJob[]> {
  const names = await readdir(digits.images);
  return Promise.all(
    Array.from({length: shardCount}, async (_, shard) => {
      const lines = Array.from({length: rowCount}, (_, row) => {
        const name = row === 7 ? 'missing.png' : names[(shard + row) % names.length]!;
        return JSON.stringify({id: `${shard}-${row}`, image: join(digits.images, name)});
      });
      const source = join(folder, `shard-${shard}.ndjson`);
      await writeFile(source, lines.join('\n'));
      return {source, output: join(folder, `rows-${shard}.ndjson`), score: {topK: 1}};
    }),
  );
}

function startWorker(t: ExecutionContext, socket: string): ChildProcess {
  const script = fileURLToPath(new URL('worker.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import=tsx', script, socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

const exitOf = (child: ChildProcess): Promise<unknown> => new Promise(resolve => child.once('exit', resolve));

testWithRedis(
  'the shard of a worker that is killed is done by another, and every id is in the merged result once',
  async t => {
    const connection = await startRedis(t);
    const folder = await temporaryFolder(t);
    const queue = new Queue<ShardJob, ShardResult>('shards', {connection});
    const shards = await writeShards(folder);
    const jobs = await queue.addBulk(
      shards.map((data, i) => ({name: 'shard', data, opts: {jobId: `shard-${i}`}})),
    );

    const [killed, ...others] = Array.from({length: 3}, () => startWorker(t, connection.path)) as [
      ChildProcess,
      ...ChildProcess[],
    ];
    let lost: string | undefined;
    for await (const line of createInterface(killed.stdout!)) {
      lost = /^active (.*)/.exec(line)?.[1];
      if (lost) break;
    }
    const gone = exitOf(killed);
    killed.kill('SIGKILL');
    await gone;
    t.is(await (await queue.getJob(lost!))!.getState(), 'active', 'it was killed with a shard in hand');

    while ((await queue.getCompletedCount()) < shardCount) {
      t.is(await queue.getFailedCount(), 0);
      await sleep(100);
    }
    for (const child of others) {
      const exited = exitOf(child);
      child.kill('SIGTERM');
      t.is(await exited, 0, 'a worker that is asked to ends by itself');
    }

    t.is((await queue.getJob(lost!))!.attemptsStarted, 2, 'the shard was begun twice');
    for (const {id} of jobs) {
      const {ok, failed, skipped} = (await queue.getJob(id!))!.returnvalue;
      t.deepEqual({ok, failed, skipped}, {ok: rowCount - 1, failed: 1, skipped: 0});
    }
    const merged = (await Promise.all(shards.map(({output}) => readRows(output)))).flat();
    t.is(merged.length, shardCount * rowCount);
    t.is(new Set(merged.map(({id}) => id)).size, merged.length);
    t.is(merged.filter(({error}) => error?.code === 'ERR_FILE_NOT_FOUND').length, shardCount);

    await using model = await RepVGG.load('digits');
    const name = (await readdir(digits.images))[3]!;
    const [top] = (await model.classify([join(digits.images, name)]))[0]!;
    t.is(merged.find(({id}) => id === '3-0')!.label, top!.label);
    await queue.close();
  },
);

testWithRedis(
  'a shard that cannot be read fails and may be tried again; one that is wrong is not; the older output stays',
  async t => {
    const connection = await startRedis(t);
    const folder = await temporaryFolder(t);
    const output = join(folder, 'rows.ndjson');
    await writeFile(output, 'as it was\n');
    const queue = new Queue<ShardJob, ShardResult>('shards', {connection});
    const events = new QueueEvents('shards', {connection});
    await events.waitUntilReady();
    await using model = await RepVGG.load('digits');
    const worker = createShardWorker('shards', model, {connection});
    const attempts = {attempts: 2};
    const missing = await queue.add('shard', {source: join(folder, 'none.csv'), output}, attempts);
    await t.throwsAsync(missing.waitUntilFinished(events), {message: /no such file/});
    const wrong = await queue.add('shard', {source: digits.images, output, score: {topK: 0}}, attempts);
    await t.throwsAsync(wrong.waitUntilFinished(events), {message: /^Expected a positive integer for topK/});
    const glob = {source: join(digits.images, '*-0.png')} as ShardJob;
    const nowhere = await queue.add('shard', glob, attempts);
    await t.throwsAsync(nowhere.waitUntilFinished(events), {message: /^Expected the path .* for output but/});
    t.is((await queue.getJob(nowhere.id!))!.attemptsMade, 1);
    t.is((await queue.getJob(missing.id!))!.attemptsMade, 2);
    t.is((await queue.getJob(wrong.id!))!.attemptsMade, 1);
    t.is(await readFile(output, 'utf8'), 'as it was\n');

    const vectors = await queue.add('shard', {
      source: join(digits.images, '*-0.png'),
      output,
      score: {output: 'logits'},
    });
    const {ok} = (await vectors.waitUntilFinished(events)) as ShardResult;
    const rows = (await readRows(output)) as (Row & {logits: number[]})[];
    t.true(ok > 3 && rows.length === ok && rows.every(({logits}) => logits.length === 10));

    const table = join(folder, 'shard.parquet');
    const image = join(digits.images, (await readdir(digits.images))[0]!);
    const columnData = [
      {name: 'path', data: [image], type: 'STRING' as const},
      {name: 'n', data: [2n ** 60n], type: 'INT64' as const},
    ];
    await writeFile(table, Buffer.from(parquetWriteBuffer({columnData})));
    const large = await queue.add('shard', {source: table, output, score: {fields: ['n']}});
    await large.waitUntilFinished(events);
    t.like((await readRows(output))[0], {fields: {n: String(2n ** 60n)}});
    const same = await queue.add('shard', {source: output, output}, attempts);
    await t.throwsAsync(same.waitUntilFinished(events), {message: /it is part of the source/});
    t.is((await readRows(output)).length, 1);
    await worker.close();
    await events.close();
    await queue.close();
  },
);
