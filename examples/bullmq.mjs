// Shards of a large source, shared out among machines by a BullMQ queue in Redis:
//
//   npm install repvgg bullmq ioredis
//   node bullmq.mjs work [CHECKPOINT]              on each machine, once per GPU with CUDA_VISIBLE_DEVICES=N
//   node bullmq.mjs add OUTPUT-FOLDER SHARD...     once; adding a shard again changes nothing
//
// REDIS_URL or REDIS_SOCKET says where Redis is. The result is OUTPUT-FOLDER/*.ndjson.
import path from 'node:path';
import {Queue, QueueEvents} from 'bullmq';
import {RepVGG} from 'repvgg';
import {createShardWorker} from 'repvgg/bullmq';

const {REDIS_URL = 'redis://127.0.0.1:6379', REDIS_SOCKET} = process.env;
const connection = REDIS_SOCKET ? {path: REDIS_SOCKET} : {url: REDIS_URL};
const [command, ...rest] = process.argv.slice(2);

if (command === 'work') await work(rest[0] ?? 'digits');
else if (command === 'add' && rest.length > 1) await add(rest[0], rest.slice(1));
else {
  console.error('usage: node bullmq.mjs work [CHECKPOINT] | add OUTPUT-FOLDER SHARD...');
  process.exitCode = 2;
}

async function work(checkpoint) {
  const model = await RepVGG.load(checkpoint);
  const worker = createShardWorker('repvgg-shards', model, {connection});
  worker.on('completed', ({data}, {ok, failed}) => console.log(`${data.source}: ${ok} ok, ${failed} failed`));
  worker.on('failed', (job, error) => console.error(`${job?.data.source}: ${error.message}`));
  worker.on('error', error => console.error(error.message));
  process.once('SIGTERM', async () => {
    await worker.close(); // finishes the current shard
    await model.dispose();
  });
}

async function add(folder, shards) {
  // Jobs and outputs are named after their shards.
  const names = new Set(shards.map(shard => path.parse(shard).name));
  if (names.size < shards.length) throw new Error('Shards need different file names.');
  const queue = new Queue('repvgg-shards', {connection});
  const events = new QueueEvents('repvgg-shards', {connection});
  const jobs = await queue.addBulk(
    shards.map(shard => {
      const name = path.parse(shard).name;
      const data = {
        source: path.resolve(shard),
        output: path.resolve(folder, `${name}.ndjson`),
        score: {topK: 1},
      };
      // BullMQ accepts neither integers nor colons as ids.
      return {name: 'shard', data, opts: {jobId: `shard-${encodeURIComponent(name)}`, attempts: 3}};
    }),
  );
  const results = await Promise.allSettled(jobs.map(job => job.waitUntilFinished(events)));
  const failed = results.filter(({status}) => status === 'rejected');
  console.log(`${results.length - failed.length} shards done, ${failed.length} failed`);
  await events.close();
  await queue.close();
}
