// Calls to this server's API with the user's key: single requests, event streams, and polling. Paths are relative, so
// they work below any base path.
import { createParser } from 'eventsource-parser';
import type { Model } from '../contracts/openai.ts';
import { isObject, parseJson } from './json.ts';
import { apiKey, keyHeaders } from './key.ts';

/** The message of errors with status 0. */
export const NO_ANSWER = 'The server does not answer.';
const NO_KEY = 'This needs an API key. Sign in at the top right.';
/** A proxy or a portal may answer with a page. */
const UNREADABLE = 'The answer is none of this server: it cannot be read. Is a proxy in between?';
const BROKEN_STREAM = 'The connection to the server broke off before the end of the answer.';

/** A request that the server refused or did not answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** 0: the server did not answer. */
  readonly status: number = 0;
  readonly code: string = '';
  readonly param: string | null = null;
  readonly retryAfterS: number = 0;
  /** The bad lines of a training file, at most 10,000. */
  readonly lines: readonly number[] | undefined;

  constructor(
    message: string,
    details: Partial<Pick<ApiError, 'status' | 'code' | 'param' | 'retryAfterS' | 'lines'>> = {},
  ) {
    super(message);
    Object.assign(this, details);
  }
}

/** A request. It has `json`, `form` or no body. */
export interface RequestOptions {
  readonly method?: string;
  readonly json?: unknown;
  readonly form?: FormData;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Fails if the answer takes longer, as if the server were gone. */
  readonly timeoutMs?: number;
  /** Fails without a key instead of asking for one. */
  readonly isQuiet?: boolean;
  /** Called while the body is sent, with the part that was sent, 0 to 1. */
  onProgress?(share: number): void;
}

/**
 * Sends a request and returns the response if its status is 2xx. On 401 it asks for a key and tries again. If the user
 * has closed that dialog before, only their own actions open it again, not the page's GET requests.
 * @param path such as `v1/models`
 * @throws ApiError
 */
export async function request(path: string, options: RequestOptions = {}): Promise<Response> {
  const { json, form, headers, signal, timeoutMs, isQuiet = false, onProgress } = options;
  const ends = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)];
  const hasBody = json !== undefined || form !== undefined;
  const method = options.method ?? (hasBody ? 'POST' : 'GET');
  const send = onProgress ? sendWithProgress(onProgress) : fetch;
  const key = apiKey();
  const response = await send(path, {
    method,
    headers: {
      ...headers,
      ...keyHeaders(key),
      ...(json !== undefined && { 'content-type': 'application/json' }),
    },
    ...(hasBody && { body: form ?? JSON.stringify(json) }),
    signal: AbortSignal.any(signal ? [signal, ...ends] : ends),
    cache: 'no-store',
  }).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError(NO_ANSWER);
  });
  if (response.ok) return response;
  const error = await toError(response);
  if (response.status !== 401) throw error;
  // The layout has loaded it. A static import would make this module need a page.
  const { askForKey, hasNewKey } = await import('./account.ts');
  const isUserAction = method !== 'GET';
  const canRepeat = (await hasNewKey(key)) || (!isQuiet && (await askForKey({ isUserAction })));
  if (canRepeat) return request(path, options);
  throw error;
}

/** Makes a function that sends as `fetch` does, and reports how much of the body was sent, which `fetch` cannot. */
function sendWithProgress(onProgress: (share: number) => void) {
  return (
    path: string,
    {
      method = 'GET',
      headers,
      body,
      signal,
    }: Omit<RequestInit, 'headers'> & { headers: Readonly<Record<string, string>> },
  ): Promise<Response> =>
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
      call.send(body as XMLHttpRequestBodyInit);
    });
}

/** Sends a request and returns the parsed body. @throws ApiError */
export async function requestJson<T>(path: string, options?: RequestOptions): Promise<T> {
  const response = await request(path, options);
  return response.json().catch((error: unknown) => {
    if (isAbort(error)) throw error;
    throw new ApiError(error instanceof SyntaxError ? UNREADABLE : NO_ANSWER);
  });
}

/** Reads data that a page can do without; undefined if that fails. */
export function readOptional<T>(path: string, options?: RequestOptions): Promise<T | undefined> {
  return requestJson<T>(path, { ...options, isQuiet: true }).catch(() => undefined);
}

/** Resolves with a model, or with nothing of it if it cannot be read. */
export async function readModel(name: string, signal?: AbortSignal): Promise<Partial<Model>> {
  return (await readOptional<Model>(`v1/models/${encodeURIComponent(name)}`, { signal })) ?? {};
}

async function toError(response: Response): Promise<ApiError> {
  const { status } = response;
  if (status === 401) return new ApiError(NO_KEY, { status });
  try {
    const { error } = await response.json();
    const retryAfterS = Number(response.headers.get('retry-after') ?? 0);
    const { code, param, lines } = error;
    return new ApiError(error.message, { status, code, param, retryAfterS, lines });
  } catch {
    return new ApiError(`The server answered with status ${status}.`, { status });
  }
}

/** Returns the message of an error. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error comes from an aborted request. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

/**
 * Reads an OpenAI-style event stream (`data: JSON`, then `data: [DONE]`) and yields the parsed events.
 * @throws ApiError if the stream reports an error or breaks off
 */
export async function* readEventStream(
  body: ReadableStream<Uint8Array>,
  // biome-ignore lint/suspicious/noExplicitAny: each caller knows its events
): AsyncGenerator<any, void, undefined> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  const received: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => received.push(data) });
  let isComplete = false;
  try {
    while (true) {
      const { done, value } = await reader.read().catch(toStreamError);
      if (done) break;
      parser.feed(decoder.decode(value, { stream: true }));
      for (const data of received.splice(0)) {
        if (data === '[DONE]') {
          isComplete = true; // the server closes the connection next
          continue;
        }
        const event = parseJson(data);
        if (!isObject(event)) throw new ApiError(BROKEN_STREAM);
        const { error } = event;
        if (isObject(error)) throw new ApiError(String(error['message']), error);
        yield event;
      }
    }
    if (!isComplete) throw new ApiError(BROKEN_STREAM);
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Replaces the browser's message for a lost connection. */
function toStreamError(error: unknown): never {
  if (isAbort(error)) throw error;
  throw new ApiError(BROKEN_STREAM);
}

/**
 * Runs a task repeatedly while the page is visible, never twice at the same time.
 * Returns a function that stops it.
 * @param intervalMs between the end of a run and the next one
 * @param task handles its own errors; resolves with `done` to stop, or with a number: the least ms to wait
 */
export function poll(intervalMs: number, task: () => Promise<unknown>): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  let isRunning = false;
  async function run() {
    clearTimeout(timer);
    if (isStopped || isRunning || document.hidden) return;
    isRunning = true;
    const outcome = await task();
    isRunning = false;
    if (outcome === 'done') stop();
    else if (!isStopped) timer = setTimeout(run, Math.max(intervalMs, Number(outcome) || 0));
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
