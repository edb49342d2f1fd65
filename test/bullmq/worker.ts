// A worker process: node --import=tsx test/bullmq/worker.ts SOCKET. Prints "active ID" when it takes a shard.
import {createShardWorker} from '../../ts/bullmq.ts';
import {RepVGG} from '../../ts/model.ts';

async function main(): Promise<void> {
  const model = await RepVGG.load('digits', {threads: 1});
  const worker = createShardWorker('shards', model, {
    connection: {path: process.argv[2]!},
    lockDuration: 1000,
    stalledInterval: 500,
  });
  worker.on('active', job => console.log(`active ${job.id}`));
  worker.on('error', error => console.error(error));
  process.once('SIGTERM', async () => {
    await worker.close();
    await model.dispose();
  });
}

void main();
