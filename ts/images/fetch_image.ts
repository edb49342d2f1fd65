import {setTimeout as sleep} from 'node:timers/promises';
import {RepVGGError} from '../errors.ts';
import {checkSignal, type FieldNames, mostMilliseconds, positiveInteger} from '../support/arguments.ts';
import {followSignal} from '../support/cancellation.ts';
import {clause} from '../support/plain_text.ts';
import {mostImageBytes, tooManyBytes} from './encoded_image.ts';

/** Options of all calls that take images. */
export interface RunOptions {
  /**
   * Time limit for fetching an image by URL, in milliseconds. Default 30,000. Within it, up to three attempts are made if the
   * server is busy or closes the connection.
   */
  fetchTimeout?: number | undefined;
  /** Aborts the call, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export const runOptionNames: FieldNames<RunOptions> = {fetchTimeout: true, signal: true};

export function checkRunOptions({fetchTimeout, signal}: RunOptions): void {
  if (fetchTimeout !== undefined) positiveInteger(fetchTimeout, 'fetchTimeout', mostMilliseconds);
  checkSignal(signal);
}

/** Transient statuses of busy servers and proxies, which are retried. */
const passingStatuses: readonly unknown[] = [429, 500, 502, 503, 504];
/** Error codes of transient connection failures. */
const passingCodes: readonly unknown[] = ['ECONNRESET', 'UND_ERR_SOCKET', 'EAI_AGAIN'];
/** Milliseconds before the second and third attempt. */
const pauses = [500, 2000];

/**
 * Fetches an http:, https: or data: URL.
 *
 * @throws {RepVGGError} ERR_IMAGE_FETCH; ERR_IMAGE_TOO_LARGE; the signal's reason once it is aborted
 */
export async function fetchImage(
  url: URL,
  {fetchTimeout = 30_000, signal}: RunOptions = {},
): Promise<Buffer> {
  const fail = (problem: string, cause?: unknown): RepVGGError =>
    new RepVGGError('ERR_IMAGE_FETCH', `Cannot fetch ${shown(url)}: ${problem}.`, {cause});
  if (!['http:', 'https:', 'data:'].includes(url.protocol))
    throw fail('only URLs of http, https, data and file are read');
  // fetch() would refuse it as well, with the password in its message.
  if (url.username || url.password) throw fail('its URL has a user name or a password, which is not sent');
  // Not AbortSignal.any(): in Node 20 a signal keeps references to all signals derived from it.
  const {controller, forget} = followSignal(signal);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    controller.abort();
  }, fetchTimeout);
  const tooMany = (): RepVGGError => tooManyBytes(`fetch ${shown(url)}`);
  const attempt = async (): Promise<Buffer> => {
    const response = await fetch(url, {signal: controller.signal});
    if (!response.ok || !response.body) {
      await response.body?.cancel();
      const {status, statusText} = response;
      throw fail(`the server answered ${status} ${statusText}`.trimEnd(), {status});
    }
    if (Number(response.headers.get('content-length')) > mostImageBytes) {
      await response.body.cancel();
      throw tooMany();
    }
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of response.body) {
      length += chunk.length;
      if (length > mostImageBytes) throw tooMany();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  };
  try {
    for (const pause of pauses) {
      try {
        return await attempt();
      } catch (error) {
        if (!isPassing(error as Error)) throw error;
      }
      await sleep(pause, undefined, {signal: controller.signal});
    }
    return await attempt();
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof RepVGGError) throw cause;
    if (isLate) throw fail(`it did not arrive within ${fetchTimeout / 1000} s`, cause);
    // fetch() throws only "fetch failed"; the reason is its cause.
    const {cause: below, message} = cause as Error & {cause?: Error};
    throw fail(clause(below?.message || message), cause);
  } finally {
    clearTimeout(timer);
    forget();
  }
}

/** Whether another attempt may succeed. */
function isPassing({cause}: Error): boolean {
  const {status, code} = (cause ?? {}) as {status?: unknown; code?: unknown};
  return passingStatuses.includes(status) || passingCodes.includes(code);
}

/** A URL without its query, which may contain secrets, and without the content of a data: URL. */
function shown(url: URL): string {
  return url.protocol === 'data:' ? 'the data: URL' : `${url.protocol}//${url.host}${url.pathname}`;
}
