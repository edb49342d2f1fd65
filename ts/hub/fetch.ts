import {stat} from 'node:fs/promises';
import {printable} from '../checkpoint/file.ts';
import {shardNames} from '../checkpoint/sharded.ts';
import {RepVGGError} from '../errors.ts';
import {clause} from '../support/plain_text.ts';
import {chooseWeights, configFile, indexFile, usualWeights, weightFile} from '../weight_files.ts';
import {HubCache, isCommit, isFile} from './cache.ts';
import {downloadBlob, type RemoteBlob} from './download.ts';
import {type HubEnvironment, hubEnvironment} from './environment.ts';
import {type HubModel, hubModel} from './id.ts';

export interface FetchOptions {
  /** The file to fetch. Default: the repository's weights, by their usual names. */
  file?: string | undefined;
  /** Called during the download with the bytes received and the total. */
  onProgress?: ((received: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A hub file in the cache. */
export interface FetchedFile {
  /** Such as "timm/repvgg_a0.rvgg_in1k". */
  id: string;
  file: string;
  /** The commit of the revision. */
  commit: string;
  path: string;
  /** Size of the file, for the index of a sharded checkpoint including all shards. */
  bytes: number;
  /** The number of bytes received over the network: 0 if all were in the cache. */
  downloaded: number;
}

/**
 * Fetches the weights of a model on the Hugging Face hub into the cache shared by all hub clients, unless they are cached; for
 * a sharded checkpoint, the index and all shards, and timm's config.json if there is one; without it, cached weights are used
 * with a warning where the hub cannot be asked. Interrupted downloads are resumed, and checksums are verified. The environment
 * variables HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN are respected.
 *
 * @param id "owner/name", or "owner/name@revision"
 * @param given settings to use instead of the environment
 * @throws {RepVGGError} ERR_DOWNLOAD; ERR_INVALID_ARGUMENT for an invalid id; the signal's reason once it is aborted
 */
export async function fetchModel(
  id: string,
  options: FetchOptions = {},
  given?: HubEnvironment,
): Promise<FetchedFile> {
  const {signal} = options;
  const model = hubModel(id);
  const environment = given ?? (await hubEnvironment());
  const cache = new HubCache(environment.cache, model.name);
  let here: FetchedFile | null = null;
  try {
    // The files of a commit never change, so the hub need not be asked about cached ones.
    const asksNobody = environment.offline || isCommit(model.revision);
    here = asksNobody ? await findInCache(model, cache, options) : null;
    if (here && (await hasConfig(here, cache))) return here;
    if (environment.offline) {
      const missing = here ? configFile : 'the model';
      throw new Error(
        `HF_HUB_OFFLINE is set and ${missing} is not in the cache; fetch it once without that variable`,
      );
    }
    return await fetchOnline(model, cache, environment, options);
  } catch (error) {
    signal?.throwIfAborted();
    const failure = toDownloadError(model, environment, error);
    // Without a network, or a hub in order, fall back on the cache, as huggingface_hub does.
    const kept = here ?? (isPassing(error) ? await findInCache(model, cache, options) : null);
    if (!kept) throw failure;
    if (!(await hasConfig(kept, cache))) warnWithoutConfig(kept, failure);
    return kept;
  }
}

/** Whether the weights need no config.json, or it is in the cache, or the hub has said that there is none. */
async function hasConfig({file, commit}: FetchedFile, cache: HubCache): Promise<boolean> {
  return usualWeights([file]) === undefined || cache.isKnown(commit, configFile);
}

function warnWithoutConfig({id}: FetchedFile, {message}: RepVGGError): void {
  process.emitWarning(
    `The weights of ${id} are used without the preprocessing and labels that its ${configFile} may have. ${message}`,
    {code: 'ERR_DOWNLOAD'},
  );
}

async function findInCache(
  {name, revision}: HubModel,
  cache: HubCache,
  options: FetchOptions,
): Promise<FetchedFile | null> {
  const commit = await cache.commit(revision);
  const file = commit && (options.file ?? chooseWeights(await cache.files(commit)));
  if (!file) return null;
  const path = cache.snapshot(commit, file);
  if (!(await isFile(path))) return null;
  const parts = indexFile.test(file) ? await shardNames(path) : [];
  const paths = [path, ...parts.map(part => cache.snapshot(commit, part))];
  if (!(await Promise.all(paths.map(isFile))).every(isHere => isHere)) return null;
  const sizes = await Promise.all(paths.map(async path => (await stat(path)).size));
  return {id: name, file, commit, path, bytes: sizes.reduce((a, b) => a + b), downloaded: 0};
}

async function fetchOnline(
  {name, revision}: HubModel,
  cache: HubCache,
  {endpoint, token}: HubEnvironment,
  options: FetchOptions,
): Promise<FetchedFile> {
  const {signal, onProgress} = options;
  const {modelInfo, pathsInfo} = await import('./client.ts');
  const signalled = ((input, init) => fetch(input, {...init, signal: signal ?? null})) as typeof fetch;
  const hub = {hubUrl: endpoint, fetch: signalled, ...(token && {accessToken: token})};
  const info = await modelInfo({...hub, name, revision, additionalFields: ['sha', 'filePaths']});
  const {sha: commit, filePaths} = info;
  const chosen = options.file ?? chooseWeights(filePaths);
  if (!chosen || !filePaths.includes(chosen)) {
    const wanted = options.file ?? 'file of weights';
    throw new Error(`it has no ${wanted} among its files: ${filePaths.join(', ')}`);
  }

  async function fetchFiles(
    files: string[],
    onProgress?: FetchOptions['onProgress'],
  ): Promise<{bytes: number; downloaded: number}> {
    const described = await pathsInfo({...hub, repo: name, revision: commit, paths: files});
    const blobs = files.map((file): RemoteBlob => {
      const found = described.find(({path}) => path === file);
      const checksum = found?.lfs?.oid ?? found?.oid ?? '';
      // Checked since they become file names.
      if (!found || !isCommit(commit) || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(checksum))
        throw new Error(`the hub does not describe its file ${file}`);
      const path = file.split('/').map(encodeURIComponent).join('/');
      return {file, url: `${endpoint}/${name}/resolve/${commit}/${path}`, checksum, bytes: found.size};
    });
    const total = blobs.reduce((sum, {bytes}) => sum + bytes, 0);
    let [before, downloaded] = [0, 0];
    for (const blob of blobs) {
      const path = cache.blob(blob.checksum);
      if (!(await isFile(path))) {
        const report = (received: number): void => onProgress?.(before + received, total);
        downloaded += await downloadBlob(blob, path, {token, onProgress: report, signal});
      }
      await cache.link(revision, commit, blob.file, blob.checksum);
      before += blob.bytes;
    }
    return {bytes: total, downloaded};
  }

  if (usualWeights([chosen]) !== undefined && filePaths.includes(configFile)) await fetchFiles([configFile]);
  const {bytes, downloaded} = await fetchFiles([chosen], onProgress);
  if (!filePaths.includes(configFile) && !(await cache.isKnown(commit, configFile)))
    await cache.markMissing(commit, configFile);
  const fetched = {id: name, file: chosen, commit, path: cache.snapshot(commit, chosen), bytes, downloaded};
  if (!indexFile.test(chosen)) return fetched;
  const names = await shardNames(fetched.path);
  const missing = names.find(shard => !weightFile.test(shard) || !filePaths.includes(shard));
  if (missing !== undefined)
    throw new Error(`${chosen} names ${printable(missing)}, which is not in the repository`);
  const shards = await fetchFiles(names, onProgress);
  return {...fetched, bytes: bytes + shards.bytes, downloaded: downloaded + shards.downloaded};
}

/** Whether the hub could not be reached, was busy or out of order, rather than having said no. */
function isPassing(error: unknown): boolean {
  const {statusCode} = error as {statusCode?: number};
  if (statusCode !== undefined) return statusCode === 429 || statusCode >= 500;
  // fetch() failed without a response.
  return error instanceof TypeError && error.cause instanceof Error;
}

function toDownloadError(
  {name, revision}: HubModel,
  {endpoint, token}: HubEnvironment,
  error: unknown,
): RepVGGError {
  const {message, statusCode, cause} = error as Error & {statusCode?: number; cause?: Error};
  const login = token ? 'the token that is set may not read it' : 'HF_TOKEN is not set';
  const problems: Record<number, string> = {
    401: `there is no such model, or it is private and ${login}`,
    403: `access to it must be granted on its page first, or ${login}`,
    404: `there is no such model, or it has no revision ${revision}`,
  };
  const problem = problems[statusCode ?? 0] ?? (cause ? `${message}: ${cause.message}` : message);
  const sentence = clause(problem.replace(/\s+/g, ' '));
  return new RepVGGError('ERR_DOWNLOAD', `Cannot fetch ${name} from ${endpoint}: ${sentence}.`, {
    cause: error,
  });
}
