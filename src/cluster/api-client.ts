// The Kubernetes API calls that running trainers needs, over HTTPS with the pod's service account. Transient failures are
// retried. Each call reads the token again, because the cluster replaces it every hour.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../common/errors.ts';
import { type Backoff, retry } from '../common/waiting.ts';

/** How to reach a cluster. */
export interface Cluster {
  /** The URL of its API. */
  readonly url: string;
  /** Certificates as PEM. Default: the system's. */
  readonly ca?: string | undefined;
  readonly namespace: string;
  readonly readToken: () => Promise<string>;
}

/** Settings of an `ApiClient`. */
interface ApiClientOptions {
  /** The longest delay before the first retry, in milliseconds. It doubles with each retry. */
  readonly firstPauseMs?: number;
}

/** The cluster refused a call. Retrying is useless until somebody fixes the cause. */
export class ClusterRefused extends Error {
  override name = 'ClusterRefused';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The cluster gave no useful answer. It may recover. */
export class ClusterUnavailable extends Error {
  override name = 'ClusterUnavailable';
}

const conditionSchema = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().optional(),
});

const jobSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({ suspend: z.boolean().optional() }),
  status: z
    .object({
      active: z.int().optional(),
      ready: z.int().optional(),
      conditions: z.array(conditionSchema).optional(),
    })
    .default({}),
});

/** The parts of a Job that are read here. */
export type KubernetesJob = z.infer<typeof jobSchema>;

const containerStateSchema = z.object({
  waiting: z.object({ reason: z.string().optional() }).optional(),
  terminated: z.object({ reason: z.string().optional(), exitCode: z.int() }).optional(),
});

const podSchema = z.object({
  metadata: z.object({ name: z.string() }),
  status: z
    .object({
      reason: z.string().optional(),
      conditions: z.array(conditionSchema).optional(),
      containerStatuses: z.array(z.object({ state: containerStateSchema.optional() })).optional(),
    })
    .default({}),
});

/** The parts of a pod that are read here. */
export type KubernetesPod = z.infer<typeof podSchema>;

const podListSchema = z.object({ items: z.array(podSchema) });

const JSON_TYPE = 'application/json';
/** A Job's managed fields take about 10 KB, and a Job has a few pods. */
const MAX_ANSWER_BYTES = 4 * 2 ** 20;
const MAX_SHOWN_CHARS = 500;
/** An API server that is being replaced responds again within seconds. */
const MAX_TRIES = 6;
const BACKOFF: Backoff = { firstMs: 200, longestMs: 10_000 };
const ANSWER_MS = 15_000;
/** An expired token, a timeout, a concurrent change and rate limiting. 5xx is transient as well. */
const TRANSIENT: ReadonlySet<number> = new Set([401, 408, 409, 429]);

type CallOptions = { readonly signal?: AbortSignal };

interface ApiAnswer {
  readonly status: number;
  readonly body: string;
  /** How long the server asks to wait, or 0. */
  readonly retryAfterMs: number;
}

interface ApiCall {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** The path below the API's URL. */
  readonly path: string;
  readonly body?: object;
  /** Statuses other than 2xx that are not failures. */
  readonly expected?: readonly number[];
}

/** Calls a cluster's API. Methods throw `ClusterRefused`, `ClusterUnavailable` or the signal's reason. */
export class ApiClient {
  readonly #cluster: Cluster;
  readonly #agent: http.Agent;
  readonly #backoff: Backoff;

  constructor(cluster: Cluster, { firstPauseMs = BACKOFF.firstMs }: ApiClientOptions = {}) {
    this.#cluster = cluster;
    this.#backoff = { ...BACKOFF, firstMs: firstPauseMs };
    const { ca } = cluster;
    this.#agent = cluster.url.startsWith('https:')
      ? new https.Agent({ keepAlive: true, ...(ca && { ca }) })
      : new http.Agent({ keepAlive: true });
  }

  /** Creates a Job, unless it exists. */
  async createJob(manifest: object, name: string, call: CallOptions = {}): Promise<void> {
    const path = this.#jobsPath();
    const answer = await this.#call(
      { method: 'POST', path, body: manifest, expected: [409] },
      call,
    );
    // Either the Job exists, perhaps because the response to an earlier try was lost, or the conflict will be over soon.
    if (answer.status === 409 && !(await this.getJob(name, call))) {
      throw new ClusterUnavailable(`job ${name}: ${describe(answer)}`);
    }
  }

  /** Returns the Job of this name, or undefined if there is none. */
  async getJob(name: string, call: CallOptions = {}): Promise<KubernetesJob | undefined> {
    const path = `${this.#jobsPath()}/${name}`;
    const answer = await this.#call({ method: 'GET', path, expected: [404] }, call);
    return answer.status === 404 ? undefined : parse(answer, jobSchema);
  }

  /** Deletes a Job and its pods, which get SIGTERM and their grace period. The Job exists until they have ended. */
  async deleteJob(name: string, call: CallOptions = {}): Promise<void> {
    const path = `${this.#jobsPath()}/${name}`;
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Foreground' };
    await this.#call({ method: 'DELETE', path, body, expected: [404] }, call);
  }

  /** Lists the pods of a Job. */
  async podsOf(jobName: string, call: CallOptions = {}): Promise<readonly KubernetesPod[]> {
    const selector = encodeURIComponent(`batch.kubernetes.io/job-name=${jobName}`);
    const path = `/api/v1/${this.#namespace()}/pods?labelSelector=${selector}&limit=20`;
    const answer = await this.#call({ method: 'GET', path }, call);
    return parse(answer, podListSchema).items;
  }

  /** Closes idle connections. */
  close(): void {
    this.#agent.destroy();
  }

  #namespace(): string {
    return `namespaces/${encodeURIComponent(this.#cluster.namespace)}`;
  }

  #jobsPath(): string {
    return `/apis/batch/v1/${this.#namespace()}/jobs`;
  }

  async #call(call: ApiCall, { signal }: CallOptions): Promise<ApiAnswer> {
    const work = async () => {
      const answer = await this.#send(call, signal);
      const { status } = answer;
      if ((status >= 200 && status < 300) || call.expected?.includes(status)) return answer;
      if (status >= 500 || TRANSIENT.has(status)) throw new TransientFailure(answer);
      throw new ClusterRefused(status, `${call.method} ${describe(answer)}`);
    };
    try {
      return await retry(work, {
        ...this.#backoff,
        maxTries: MAX_TRIES,
        signal,
        isRetryable: (error) => !(error instanceof ClusterRefused),
        minDelayMs: (error) => (error instanceof TransientFailure ? error.retryAfterMs : 0),
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ClusterRefused) throw error;
      const { message } = error as Error;
      throw new ClusterUnavailable(`${call.method}: ${message} (${MAX_TRIES} tries)`);
    }
  }

  async #send({ method, path, body }: ApiCall, signal?: AbortSignal): Promise<ApiAnswer> {
    const { url, readToken } = this.#cluster;
    const token = (await readToken()).trim();
    const bytes = body && Buffer.from(JSON.stringify(body));
    const headers = {
      accept: JSON_TYPE,
      authorization: `Bearer ${token}`,
      // Without this length, Node sends a DELETE without its body.
      ...(bytes && { 'content-type': JSON_TYPE, 'content-length': bytes.length }),
    };
    const limit = AbortSignal.timeout(ANSWER_MS);
    const options = {
      method,
      headers,
      agent: this.#agent,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    };
    const { request } = url.startsWith('https:') ? https : http;
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const sent = request(new URL(path, url), options, resolve);
      sent.once('error', reject);
      sent.end(bytes);
    });
    const { statusCode: status = 0 } = response;
    return { status, body: await collect(response), retryAfterMs: retryAfterMs(response) };
  }
}

class TransientFailure extends Error {
  readonly retryAfterMs: number;

  constructor(answer: ApiAnswer) {
    super(describe(answer));
    this.retryAfterMs = answer.retryAfterMs;
  }
}

async function collect(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let byteSize = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    byteSize += chunk.length;
    if (byteSize > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function retryAfterMs({ headers }: http.IncomingMessage): number {
  const seconds = Number(headers['retry-after'] ?? 0);
  return Number.isFinite(seconds) ? seconds * 1000 : 0;
}

/** Returns the status and the message of a `Status` object, for the log. */
function describe({ status, body }: ApiAnswer): string {
  let message = body;
  try {
    message = String(JSON.parse(body).message ?? body);
  } catch {
    // a proxy's page
  }
  return `${status} ${message.slice(0, MAX_SHOWN_CHARS)}`;
}

function parse<T>(answer: ApiAnswer, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(answer.body));
  } catch (cause) {
    throw new ClusterUnavailable('the answer is not from Kubernetes', { cause });
  }
}

/** The folder in which Kubernetes mounts a service account. */
const ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';
/** The name in the cluster's DNS for which its certificate is valid. */
const CLUSTER_URL = 'https://kubernetes.default.svc';

/** Finds the cluster that this pod runs in. Throws `ConfigError` if there is no service account. */
export async function findCluster(dir: string = ACCOUNT_DIR): Promise<Cluster> {
  const read = (name: string) => readFile(join(dir, name), 'utf8');
  try {
    const [ca, namespace] = await Promise.all([read('ca.crt'), read('namespace'), read('token')]);
    return { url: CLUSTER_URL, ca, namespace: namespace.trim(), readToken: () => read('token') };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'EACCES') throw cause;
    const cure = 'it is for pods of a cluster, with their service account’s token mounted';
    throw new ConfigError(`LORIKEET_TRAIN_RUNNER: kubernetes: ${cure} (${dir})`);
  }
}
