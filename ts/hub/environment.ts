import {readFile} from 'node:fs/promises';
import {homedir} from 'node:os';
import {join} from 'node:path';

/** Settings for the hub, from the environment variables that huggingface_hub documents. */
export interface HubEnvironment {
  /** HF_ENDPOINT, without a trailing slash. */
  endpoint: string;
  /** HF_HUB_CACHE, or "hub" in HF_HOME. */
  cache: string;
  /** HF_HUB_OFFLINE */
  offline: boolean;
  /** HF_TOKEN, or the file of HF_TOKEN_PATH, or "token" in HF_HOME, which `hf auth login` writes. */
  token: string | undefined;
}

export async function hubEnvironment(variables: NodeJS.ProcessEnv = process.env): Promise<HubEnvironment> {
  /** Empty variables count as unset. */
  const first = (...names: string[]): string | undefined =>
    names.map(name => variables[name]?.trim()).find(value => value);
  /** Not only shells set variables: "~" reaches this from a Dockerfile or a unit of systemd. */
  const path = (...names: string[]): string | undefined =>
    first(...names)?.replace(/^~(?=\/|$)/, () => homedir());
  const home = path('HF_HOME') ?? join(path('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface');
  const tokenFile = path('HF_TOKEN_PATH') ?? join(home, 'token');
  return {
    endpoint: (first('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''),
    cache: path('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'),
    offline: /^(1|on|yes|true)$/i.test(first('HF_HUB_OFFLINE') ?? ''),
    token: first('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN') ?? (await readToken(tokenFile)),
  };
}

async function readToken(path: string): Promise<string | undefined> {
  // The file exists only after a login, and public models do not need it, so errors are ignored.
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim() || undefined;
}
