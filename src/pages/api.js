// Calls to this server's API with the user's key: single requests, event streams, and polling. Paths are relative, so
// they work below any base path.
import { keyHeaders } from './key.js';

const NO_KEY = 'This needs an API key. Sign in at the top right.';
const BROKEN_STREAM = 'The connection to the server broke off before the end of the answer.';

/** A request that the server refused or did not answer. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, code?: string, param?: string | null, retryAfterS?: number }} details
   */
  constructor(message, { status = 0, code = '', param = null, retryAfterS = 0 } = {}) {
    super(message);
    this.name = 'ApiError';
    /** 0: the server did not answer. */
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * @typedef {object} RequestOptions
 * @property {string} [method]
 * @property {unknown} [json] a body
 * @property {FormData} [form] a body
 * @property {Readonly<Record<string, string>>} [headers]
 * @property {AbortSignal | undefined} [signal]
 * @property {boolean} [isQuiet] fails without a key instead of asking for one
 * @property {(share: number) => void} [onProgress] called while the body is sent, with the part that was sent, 0 to 1
 */

/**
 * Sends a request and returns the response if its status is 2xx. On 401 it asks for a key and tries again. If the user
 * has closed that dialog before, only their own actions open it again, not the page's GET requests.
 * @param {string} path such as `v1/models`
 * @param {RequestOptions} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError}
 */
export async function request(path, options = {}) {
  const { json, form, headers, signal, isQuiet = false, onProgress } = options;
  const hasBody = json !== undefined || form !== undefined;
  const method = options.method ?? (hasBody ? 'POST' : 'GET');
  const send = onProgress ? sendWithProgress(onProgress) : fetch;
  const response = await send(path, {
    method,
    headers: {
      ...headers,
      ...keyHeaders(),
      ...(json !== undefined && { 'content-type': 'application/json' }),
    },
    ...(hasBody && { body: form ?? JSON.stringify(json) }),
    ...(signal && { signal }),
    cache: 'no-store',
  }).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError('The server does not answer.');
  });
  if (response.ok) return response;
  const error = await toError(response);
  if (response.status !== 401 || isQuiet) throw error;
  // Loaded by the layout on every page. A static import would make this module need a page.
  const { askForKey } = await import('./account.js');
  if (await askForKey({ isUserAction: method !== 'GET' })) return request(path, options);
  throw error;
}

/**
 * Makes a function that sends a request as `fetch` does, and reports how much of the body was sent, which `fetch` cannot.
 * @param {(share: number) => void} onProgress
 * @returns {(path: string, init: Omit<RequestInit, 'headers'> & { headers: Readonly<Record<string, string>> }) => Promise<Response>}
 */
function sendWithProgress(onProgress) {
  return (path, { method = 'GET', headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const call = new XMLHttpRequest();
      call.open(method, path);
      for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
      call.upload.onprogress = ({ loaded, total }) => onProgress(loaded / Math.max(1, total));
      call.onload = () => {
        const retryAfter = call.getResponseHeader('retry-after');
        const { status, responseText } = call;
        resolve(
          new Response(responseText, {
            status,
            headers: retryAfter ? { 'retry-after': retryAfter } : {},
          }),
        );
      };
      call.onerror = () => reject(new TypeError('The request failed.'));
      call.onabort = () => reject(new DOMException('The request was aborted.', 'AbortError'));
      signal?.addEventListener('abort', () => call.abort());
      call.send(/** @type {XMLHttpRequestBodyInit} */ (body));
    });
}

/**
 * Sends a request and returns the parsed body.
 * @template T
 * @param {string} path
 * @param {RequestOptions} [options]
 * @returns {Promise<T>}
 * @throws {ApiError}
 */
export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

/** Resolves with a model, or with nothing of it if it cannot be read. @param {string} name @returns {Promise<Partial<import('../contracts/openai.ts').Model>>} */
export async function readModel(name) {
  /** @type {Promise<Partial<import('../contracts/openai.ts').Model>>} */
  const reading = requestJson(`v1/models/${encodeURIComponent(name)}`, { isQuiet: true });
  return reading.catch(() => ({}));
}

/** @param {Response} response */
async function toError(response) {
  const { status } = response;
  if (status === 401) return new ApiError(NO_KEY, { status });
  try {
    const { error } = await response.json();
    const retryAfterS = Number(response.headers.get('retry-after') ?? 0);
    const { code, param } = error;
    return new ApiError(error.message, { status, code, param, retryAfterS });
  } catch {
    return new ApiError(`The server answered with status ${status}.`, { status });
  }
}

/** Returns the message of an error. @param {unknown} error */
export function errorText(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error comes from an aborted request. @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === 'AbortError';
}

/**
 * Reads an OpenAI-style event stream (`data: JSON`, then `data: [DONE]`) and yields the parsed events.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any, void, undefined>}
 * @throws {ApiError} if the stream reports an error or breaks off
 */
export async function* readEventStream(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = '';
  let isComplete = false;
  try {
    while (true) {
      const { done, value } = await reader.read().catch(toStreamError);
      if (done) break;
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        if (!line.startsWith('data: ')) continue; // a comment that keeps proxies awake, or an empty line
        const data = line.slice('data: '.length);
        if (data === '[DONE]') {
          isComplete = true; // the server closes the connection next
          continue;
        }
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(event.error.message, event.error);
        yield event;
      }
    }
    if (!isComplete) throw new ApiError(BROKEN_STREAM);
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Replaces the browser's message for a lost connection. @param {unknown} error @returns {never} */
function toStreamError(error) {
  if (isAbort(error)) throw error;
  throw new ApiError(BROKEN_STREAM);
}

/**
 * Runs a task repeatedly while the page is visible, never twice at the same time.
 * @param {number} intervalMs between the end of a run and the next one
 * @param {() => Promise<'done' | number | void>} task handles its own errors; returns `done` to stop, or the least
 *   number of ms to wait
 * @returns {() => void} stops polling
 */
export function poll(intervalMs, task) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let isStopped = false;
  let isRunning = false;
  async function run() {
    clearTimeout(timer);
    if (isStopped || isRunning || document.hidden) return;
    isRunning = true;
    const outcome = await task();
    isRunning = false;
    if (outcome === 'done') stop();
    else if (!isStopped) timer = setTimeout(run, Math.max(intervalMs, Number(outcome ?? 0)));
  }
  function stop() {
    isStopped = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', run);
  }
  document.addEventListener('visibilitychange', run);
  void run();
  return stop;
}
