// Calls to this server's API, below whatever path it is served: with the reader's key, and with its errors as errors.
import { askForKey } from './account.js';
import { keyHeaders } from './key.js';

/** What the server said of a request that it refused, or that it did not answer. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, code?: string, param?: string | null, retryAfterS?: number }} facts
   */
  constructor(message, { status = 0, code = '', param = null, retryAfterS = 0 } = {}) {
    super(message);
    this.name = 'ApiError';
    /** 0: there was no answer. */
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * @typedef {object} Call
 * @property {string} [method]
 * @property {unknown} [json] a body
 * @property {FormData} [form] a body
 * @property {Readonly<Record<string, string>>} [headers]
 * @property {AbortSignal | undefined} [signal]
 * @property {boolean} [isQuiet] whether a missing key is an error and opens no dialog
 */

/**
 * Returns the answer if its status is 2xx. If the server wants a key, asks the reader for one and calls again; somebody
 * who closed that dialog is asked again only by what they do, not by what a page reads (GET) by itself.
 * @param {string} path such as `v1/models`
 * @param {Call} [call]
 * @returns {Promise<Response>}
 * @throws {ApiError}
 */
export async function request(path, call = {}) {
  const { json, form, headers, signal, isQuiet = false } = call;
  const hasBody = json !== undefined || form !== undefined;
  const method = call.method ?? (hasBody ? 'POST' : 'GET');
  const response = await fetch(path, {
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
  if (await askForKey({ isUserAction: method !== 'GET' })) return request(path, call);
  throw error;
}

/**
 * @template T
 * @param {string} path
 * @param {Call} [call]
 * @returns {Promise<T>}
 */
export async function requestJson(path, call) {
  return (await request(path, call)).json();
}

/** @param {Response} response */
async function toError(response) {
  const { status } = response;
  try {
    const { error } = await response.json();
    const retryAfterS = Number(response.headers.get('retry-after') ?? 0);
    return new ApiError(error.message, {
      status,
      code: error.code,
      param: error.param,
      retryAfterS,
    });
  } catch {
    return new ApiError(`The server answered with status ${status}.`, { status });
  }
}

/** An error as the reader sees it. @param {unknown} error */
export function errorText(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === 'AbortError';
}
