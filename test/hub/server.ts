/** A server on the loopback device that answers as the Hugging Face hub does to the requests of its client. */
import {createHash} from 'node:crypto';
import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';

export interface HubRepository {
  files: Record<string, Buffer>;
  /** Only requests with this token see it. */
  token?: string;
  /** The bytes of each connection that sends more, after which it is cut, once each. */
  cuts?: number[];
  /** Ranges are not known here: all of a file is sent, whatever is asked for. */
  withoutRanges?: boolean;
  /** What is sent in place of a file's bytes. */
  corrupt?: boolean;
}

export interface HubServer {
  endpoint: string;
  /** What was asked for, as "METHOD PATH RANGE". */
  requests: string[];
  /** Bytes of files that were sent. */
  sent: number;
  close(): Promise<void>;
}

/** The commit of every repository's main branch. */
export const commit = '0123456789abcdef0123456789abcdef01234567';

export async function startHub(repositories: Record<string, HubRepository>): Promise<HubServer> {
  const hub: HubServer = {endpoint: '', requests: [], sent: 0, close: () => close(server)};
  const server = createServer((request, response) => {
    void answer(request, response).catch(error => response.destroy(error));
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const {pathname} = new URL(request.url!, hub.endpoint);
    hub.requests.push(`${request.method} ${pathname} ${request.headers.range ?? ''}`.trim());
    const path = decodeURIComponent(pathname);
    const [, name, action, revision, file] =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|paths-info)\/([^/]+)$/.exec(path) ??
      /^\/([^/]+\/[^/]+)\/(resolve|cdn)\/([^/]+)\/(.+)$/.exec(path) ??
      [];
    const repository = repositories[name ?? ''];
    const authorised = !repository?.token || request.headers.authorization === `Bearer ${repository.token}`;
    if (!repository || (!authorised && action !== 'cdn')) return fail(response, 401, 'RepoNotFound');
    if (revision !== 'main' && revision !== commit) return fail(response, 404, 'RevisionNotFound');
    if (action === 'revision') return json(response, describe(name!, repository));
    if (action === 'paths-info') {
      const {paths} = JSON.parse(await body(request)) as {paths: string[]};
      return json(
        response,
        paths.flatMap(wanted => pathInfo(wanted, repository.files[wanted])),
      );
    }
    const bytes = repository.files[file!];
    if (!bytes) return fail(response, 404, 'EntryNotFound');
    if (action === 'resolve') {
      // Large files are elsewhere, and that place must not get the token.
      response.writeHead(302, {
        location: `${hub.endpoint.replace('127.0.0.1', 'localhost')}/${name}/cdn/${revision}/${file}`,
      });
      response.end();
      return;
    }
    if (request.headers.authorization) return fail(response, 400, 'TokenOnCdn');
    sendFile(request, response, repository, bytes);
  }

  function sendFile(
    request: IncomingMessage,
    response: ServerResponse,
    repository: HubRepository,
    bytes: Buffer,
  ): void {
    const [, first, last] =
      (!repository.withoutRanges && /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')) || [];
    const start = Number(first ?? 0);
    const end = last ? Number(last) + 1 : bytes.length;
    const content = repository.corrupt ? Buffer.alloc(end - start) : bytes.subarray(start, end);
    const range = `bytes ${start}-${end - 1}/${bytes.length}`;
    response.writeHead(first === undefined ? 200 : 206, {
      etag: `"${sha256(bytes)}"`,
      ...(!repository.withoutRanges && {'accept-ranges': 'bytes'}),
      'content-length': content.length,
      ...(first !== undefined && {'content-range': range}),
    });
    const cut =
      content.length > (repository.cuts?.[0] ?? Number.POSITIVE_INFINITY)
        ? repository.cuts?.shift()
        : undefined;
    hub.sent += cut ?? content.length;
    if (cut === undefined) response.end(content);
    else response.write(content.subarray(0, cut), () => setTimeout(() => response.destroy(), 50));
  }

  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  hub.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return hub;
}

function describe(name: string, {files}: HubRepository): object {
  const siblings = Object.keys(files).map(rfilename => ({rfilename}));
  const dates = {createdAt: '2023-03-22T07:20:55.000Z', lastModified: '2025-01-21T18:19:46.000Z'};
  return {
    _id: '641aab674f9be90a5c8c4d36',
    id: name,
    sha: commit,
    private: false,
    downloads: 1,
    likes: 0,
    siblings,
    ...dates,
  };
}

/** Files of weights are in git's large file storage, others in git. */
function pathInfo(path: string, bytes: Buffer | undefined): object[] {
  if (!bytes) return [];
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  const isLarge = /\.(safetensors|bin|pth)$/.test(path);
  const lfs = {oid: sha256(bytes), size: bytes.length, pointerSize: 133};
  return [{type: 'file', path, size: bytes.length, oid, ...(isLarge && {lfs})}];
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, {'x-error-code': code, 'content-type': 'application/json'});
  response.end(JSON.stringify({error: code}));
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, {'content-type': 'application/json'});
  response.end(JSON.stringify(value));
}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise(resolve => server.close(() => resolve()));
}
