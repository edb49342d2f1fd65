import {spawn} from 'node:child_process';
import {existsSync} from 'node:fs';
import {delimiter, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {ExecutionContext} from 'ava';
import {temporaryFolder} from '../folder.ts';
import {testWhere} from '../where.ts';

interface RedisServer {
  command: string;
  env: NodeJS.ProcessEnv;
}

/** The system's redis-server, or the one that scripts/redis_server.mjs has fetched. */
const redisServer = findRedisServer();

export const testWithRedis: ReturnType<typeof testWhere> = testWhere(
  redisServer !== undefined,
  'there is no redis-server, and scripts/redis_server.mjs could not fetch one',
  {fetched: true},
);

function findRedisServer(): RedisServer | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const command = join(folder, 'redis-server');
    if (folder && existsSync(command)) return {command, env: process.env};
  }
  const fetched = fileURLToPath(new URL('../../build-redis/', import.meta.url));
  // One program under several names: what it does depends on the one it is called by.
  const command = join(fetched, 'usr/bin/redis-check-rdb');
  if (!existsSync(command)) return undefined;
  const libraries = ['usr/lib', 'lib'].map(folder => join(fetched, folder, `${machine()}-linux-gnu`));
  return {command, env: {...process.env, LD_LIBRARY_PATH: libraries.join(delimiter)}};
}

function machine(): string {
  return process.arch === 'arm64' ? 'aarch64' : 'x86_64';
}

/** Starts a Redis of its own for a test, on a socket in a folder of its own, and returns how to connect to it. */
export async function startRedis(t: ExecutionContext): Promise<{path: string}> {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'redis.sock');
  const {command, env} = redisServer!;
  const options = ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no', '--dir', folder];
  const server = spawn(command, options, {argv0: 'redis-server', env, stdio: ['ignore', 'pipe', 'inherit']});
  const exited = new Promise(resolve => server.once('exit', resolve));
  t.teardown(async () => {
    server.kill();
    await exited;
  });
  let log = '';
  for await (const chunk of server.stdout) {
    log += String(chunk);
    if (/ready to accept connections/i.test(log)) {
      server.stdout.resume();
      return {path};
    }
  }
  throw new Error(`Redis does not start: ${log}`);
}
