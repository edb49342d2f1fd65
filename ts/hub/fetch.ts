import {createHash} from 'node:crypto';
import {createReadStream} from 'node:fs';
import {constants, mkdir, open, rename, rm, stat} from 'node:fs/promises';
import {dirname} from 'node:path';
import {RepVGGError} from '../errors.ts';
import {HubCache, isCommit, isFile} from './cache.ts';
import {type HubEnvironment, hubEnvironment} from './environment.ts';
import {type HubModel, hubModel} from './id.ts';

export interface FetchOptions {
  /** Which file of the repository. Default: its weights, by the names that are usual. */
  file?: string | undefined;
  /** Called with the bytes there are and the bytes there will be, as they arrive. */
  onProgress?: ((received: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A file of the hub that is in the cache. */
export interface FetchedFile {
  /** "timm/repvgg_a0.rvgg_in1k" */
  id: string;
  file: string;
  /** The commit that the revision was. */
  commit: string;
  path: string;
  bytes: number;
  /** How many of them came over the network just now: 0 when all were in the cache. */
  downloaded: number;
}

/** Where repositories keep weights, best first. */
const usualFiles = ['model.safetensors', 'pytorch_model.bin'];
const weightFile = /^[^/]+\.(safetensors|pth|pt|bin|ckpt)$/;

/**
 * Fetches the weights of a model of the Hugging Face hub into the cache that all its clients share, unless they are
 * there. A download that was interrupted goes on where it ended, and its checksum is verified before it counts.
 * The environment variables HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN are honoured.
 *
 * @param id "owner/name", or "owner/name@revision"
 * @param given what to take in place of the environment
 * @throws {RepVGGError} ERR_DOWNLOAD; ERR_INVALID_ARGUMENT for what is no id; the signal's reason once it is aborted
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
  try {
    // What a commit has in it does not change, so the hub need not be asked about what is here.
    const asksNobody = environment.offline || isCommit(model.revision);
    const here = asksNobody ? await findInCache(model, cache, options) : null;
    if (here) return here;
    if (environment.offline)
      throw new Error('HF_HUB_OFFLINE is set, and it is not in the cache: fetch it once without');
    return await fetchOnline(model, cache, environment, options);
  } catch (error) {
    signal?.throwIfAborted();
    // Without a network, what is there is taken, as huggingface_hub does.
    const kept = isUnreachable(error) ? await findInCache(model, cache, options) : null;
    if (kept) return kept;
    throw toDownloadError(model, environment, error);
  }
}

async function findInCache(
  {name, revision}: HubModel,
  cache: HubCache,
  options: FetchOptions,
): Promise<FetchedFile | null> {
  const commit = await cache.commit(revision);
  const file = commit && (options.file ?? chooseFile(await cache.files(commit)));
  const path = file && cache.snapshot(commit, file);
  if (!path || !(await isFile(path))) return null;
  return {id: name, file, commit, path, bytes: (await stat(path)).size, downloaded: 0};
}

async function fetchOnline(
  {name, revision}: HubModel,
  cache: HubCache,
  {endpoint, token}: HubEnvironment,
  options: FetchOptions,
): Promise<FetchedFile> {
  const {signal, onProgress} = options;
  const {modelInfo, pathsInfo, downloadFile} = await import('./client.ts');
  const hub = {
    hubUrl: endpoint,
    fetch: ((input, init) => fetch(input, {...init, signal: signal ?? null})) as typeof fetch,
    ...(token && {accessToken: token}),
  };
  const info = await modelInfo({...hub, name, revision, additionalFields: ['sha', 'filePaths']});
  const {sha: commit, filePaths} = info;
  const file = options.file ?? chooseFile(filePaths);
  if (!file || !filePaths.includes(file)) {
    const wanted = options.file ?? 'file of weights';
    throw new Error(`it has no ${wanted} among its files: ${filePaths.join(', ')}`);
  }
  const [described] = await pathsInfo({...hub, repo: name, revision: commit, paths: [file]});
  const checksum = described?.lfs?.oid ?? described?.oid;
  // They become names of files.
  if (!described || !/^[0-9a-f]{40}$/.test(commit) || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(checksum ?? ''))
    throw new Error(`it does not say what ${file} is`);
  const blob = cache.blob(checksum!);
  const bytes = described.size;
  let downloaded = 0;
  if (!(await isFile(blob))) {
    // By plain HTTP rather than xet, since that goes on at any byte, and mirrors have nothing else.
    const remote = await downloadFile({...hub, repo: name, revision: commit, path: file, xet: false});
    if (!remote) throw new Error(`${file} cannot be downloaded`);
    if (remote.size !== bytes) throw new Error(`${file} should have ${bytes} bytes and has ${remote.size}`);
    downloaded = await download(remote, `${blob}.incomplete`, onProgress);
    await complete(blob, checksum!, bytes, file);
  }
  await cache.link(revision, commit, file, checksum!);
  return {id: name, file, commit, path: cache.snapshot(commit, file), bytes, downloaded};
}

function chooseFile(files: readonly string[]): string | undefined {
  const weights = files.filter(file => weightFile.test(file));
  return usualFiles.find(file => weights.includes(file)) ?? (weights.length === 1 ? weights[0] : undefined);
}

/**
 * Downloads what a file lacks. It is written by position, so that processes that download the same file at the same time
 * write the same bytes.
 *
 * @returns the bytes that came
 */
async function download(remote: Blob, path: string, onProgress: FetchOptions['onProgress']): Promise<number> {
  await mkdir(dirname(path), {recursive: true});
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  try {
    const {size} = await file.stat();
    const start = size > remote.size ? 0 : size;
    if (size > start) await file.truncate(start);
    let position = start;
    onProgress?.(position, remote.size);
    if (position < remote.size) {
      for await (const chunk of remote.slice(start).stream() as unknown as AsyncIterable<Uint8Array>) {
        for (let done = 0; done < chunk.length; ) {
          const {bytesWritten} = await file.write(chunk, done, chunk.length - done, position);
          done += bytesWritten;
          position += bytesWritten;
        }
        onProgress?.(position, remote.size);
      }
    }
    await file.sync();
    if (position < remote.size)
      throw new Error(`the connection ended after ${position} of ${remote.size} bytes`);
    return position - start;
  } finally {
    await file.close();
  }
}

/** Gives a download its name, unless another process has done so. */
async function complete(blob: string, checksum: string, bytes: number, name: string): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  try {
    await verify(incomplete, checksum, bytes, name);
    await rename(incomplete, blob);
  } catch (error) {
    if (!(await isFile(blob))) throw error;
  }
}

/** A file of git's large file storage has the SHA-256 of its bytes, a small one git's own checksum. */
async function verify(path: string, checksum: string, bytes: number, name: string): Promise<void> {
  const isGit = checksum.length === 40;
  const hash = createHash(isGit ? 'sha1' : 'sha256');
  if (isGit) hash.update(`blob ${bytes}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  if (hash.digest('hex') === checksum) return;
  await rm(path, {force: true});
  throw new Error(
    `what came for ${name} does not have its checksum ${checksum}, so it was removed: try again`,
  );
}

/** What fetch throws where no answer came; an answer of the hub has its status. */
function isUnreachable(error: unknown): boolean {
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
  const sentence = problem.replace(/\s+/g, ' ').replace(/\.$/, '');
  return new RepVGGError('ERR_DOWNLOAD', `Cannot fetch ${name} from ${endpoint}: ${sentence}.`, {
    cause: error,
  });
}
