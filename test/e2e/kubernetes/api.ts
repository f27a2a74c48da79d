// Calls of Kubernetes' API as its administrator, over HTTPS with a token. The types hold what tests and their node read.
import type http from 'node:http';
import https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';

export interface Metadata {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
}

export interface Listed<T> {
  readonly items: readonly T[];
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

class KubeError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class KubeApi {
  readonly url: string;
  /** PEM */
  readonly ca: string;
  readonly token: string;
  readonly #agent: https.Agent;
  isClosed = false;

  constructor({ url, ca, token }: Pick<KubeApi, 'url' | 'ca' | 'token'>) {
    this.url = url;
    this.ca = ca;
    this.token = token;
    this.#agent = new https.Agent({ ca, keepAlive: true });
  }

  get<T>(path: string): Promise<T> {
    return this.#call('GET', path);
  }

  /** Throws `KubeError` for any status but 2xx. */
  post<T>(path: string, body: object): Promise<T> {
    return this.#call('POST', path, body);
  }

  /** Merges as `kubectl patch` does: lists by their keys. */
  patch<T>(path: string, body: object): Promise<T> {
    return this.#call('PATCH', path, body);
  }

  delete<T>(path: string, body: object = {}): Promise<T> {
    return this.#call('DELETE', path, body);
  }

  /** The cluster goes. */
  close(): void {
    this.isClosed = true;
    this.#agent.destroy();
  }

  async #call<T>(method: Method, path: string, body?: object): Promise<T> {
    const text = body && JSON.stringify(body);
    const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json';
    const headers = {
      authorization: `Bearer ${this.token}`,
      ...(text && { 'content-type': type, 'content-length': Buffer.byteLength(text) }),
    };
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const options = { method, headers, agent: this.#agent };
      https.request(new URL(path, this.url), options, resolve).once('error', reject).end(text);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const answer = Buffer.concat(chunks).toString('utf8');
    const { statusCode = 0 } = response;
    if (statusCode >= 300) throw new KubeError(statusCode, `${method} ${path}: ${answer}`);
    return answer.startsWith('{') ? JSON.parse(answer) : (answer as T);
  }
}

/** Makes a call that somebody else may have made. */
export async function unlessGone(call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (!(error instanceof KubeError && [404, 409].includes(error.status))) throw error;
  });
}

/** Works again and again until the cluster goes. A failure before that fails the test. */
export function repeat(
  t: { after(fn: () => unknown): void },
  { api, pauseMs }: { api: KubeApi; pauseMs: number },
  work: () => Promise<void>,
): void {
  let failure: unknown;
  const working = (async () => {
    while (!api.isClosed) {
      await work();
      await delay(pauseMs);
    }
  })().catch((error) => {
    if (!api.isClosed) failure = error;
  });
  t.after(async () => {
    await working;
    if (failure) throw failure;
  });
}
