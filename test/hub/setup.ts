import {join} from 'node:path';
import type {ExecutionContext} from 'ava';
import type {HubEnvironment} from '../../ts/hub/environment.ts';
import {temporaryFolder} from '../cli/run.ts';
import {Random} from '../random.ts';
import {type HubRepository, type HubServer, startHub} from './server.ts';

export const id: string = 'timm/repvgg_a0.rvgg_in1k';
export const weights: Buffer = Buffer.from(Uint8Array.from(new Random('hub').uniform(3_000_000, 0, 255)));
export const config: Buffer = Buffer.from('{"architecture": "repvgg_a0"}');
export const files: Record<string, Buffer> = {'config.json': config, 'pytorch_model.bin': weights};

/** A hub with one model on this machine, and an empty cache: in `folder` is what is cached of that model. */
export async function setUp(
  t: ExecutionContext,
  repository: Partial<HubRepository> = {},
): Promise<{hub: HubServer; environment: HubEnvironment; folder: string}> {
  const hub = await startHub({[id]: {files, ...repository}});
  t.teardown(() => hub.close());
  const cache = await temporaryFolder(t);
  const environment = {endpoint: hub.endpoint, cache, offline: false, token: undefined};
  return {hub, environment, folder: join(cache, 'models--timm--repvgg_a0.rvgg_in1k')};
}
