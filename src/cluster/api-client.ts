// The few calls of Kubernetes' API that running trainers takes, over HTTPS with the pod's service account. What is worth
// another try gets one, with a pause; a token is read again for each call, as the cluster replaces it every hour. It
// knows objects as far as they are read here, and no jobs of ours.
import http from 'node:http';
import https from 'node:https';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';

export interface Cluster {
  /** Of its API. */
  readonly url: string;
  /** PEM. Absent: the system's. */
  readonly ca?: string | undefined;
  readonly namespace: string;
  readonly readToken: () => Promise<string>;
}

export interface ApiClientOptions {
  /** A first pause before another try; it doubles. */
  readonly firstPauseMs?: number;
  readonly random?: () => number;
}

/** The cluster refuses: trying again cannot help until somebody acts. */
export class ClusterRefused extends Error {
  override name = 'ClusterRefused';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** No answer, or none that helps; it may work later. */
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

export type KubernetesPod = z.infer<typeof podSchema>;

const podListSchema = z.object({ items: z.array(podSchema) });

const JSON_TYPE = 'application/json';
/** A Job's managed fields are some 10 KB; a Job has a few pods. */
const MAX_ANSWER_BYTES = 4 * 2 ** 20;
const MAX_TOLD_CHARS = 500;
/** An API server that is being replaced answers within seconds again. */
const MAX_TRIES = 6;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
const ANSWER_MS = 15_000;
/** Beside 5xx: a token that has just ended, another change at this moment, too many requests. */
const TRANSIENT: ReadonlySet<number> = new Set([401, 408, 409, 429]);

type Call = { readonly signal?: AbortSignal };

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly retryAfterMs: number | undefined;
}

interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the API's address. */
  readonly path: string;
  readonly body?: object;
  /** Answers that are no failure. */
  readonly expected?: readonly number[];
}

/** Every call rejects with `ClusterRefused`, `ClusterUnavailable` or the signal's reason. */
export class ApiClient {
  readonly #cluster: Cluster;
  readonly #agent: http.Agent;
  readonly #firstPauseMs: number;
  readonly #random: () => number;

  constructor(cluster: Cluster, options: ApiClientOptions = {}) {
    const { firstPauseMs = FIRST_PAUSE_MS, random = Math.random } = options;
    this.#cluster = cluster;
    this.#firstPauseMs = firstPauseMs;
    this.#random = random;
    const { ca } = cluster;
    this.#agent = cluster.url.startsWith('https:')
      ? new https.Agent({ keepAlive: true, ...(ca && { ca }) })
      : new http.Agent({ keepAlive: true });
  }

  /** Or finds the one of this name that is there. */
  async createJob(manifest: object, name: string, call: Call = {}): Promise<void> {
    const path = this.#jobsPath();
    const answer = await this.#ask({ method: 'POST', path, body: manifest, expected: [409] }, call);
    // There already (by this very call, whose answer was lost), or a conflict that is over when it is asked again.
    if (answer.status === 409 && !(await this.getJob(name, call))) {
      throw new ClusterUnavailable(`job ${name}: ${told(answer)}`);
    }
  }

  async getJob(name: string, call: Call = {}): Promise<KubernetesJob | undefined> {
    const path = `${this.#jobsPath()}/${name}`;
    const answer = await this.#ask({ method: 'GET', path, expected: [404] }, call);
    return answer.status === 404 ? undefined : parse(answer, jobSchema);
  }

  /** With its pods, which get SIGTERM and their grace. The Job is there until they have ended. */
  async deleteJob(name: string, call: Call = {}): Promise<void> {
    const path = `${this.#jobsPath()}/${name}`;
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Foreground' };
    await this.#ask({ method: 'DELETE', path, body, expected: [404] }, call);
  }

  async podsOf(jobName: string, call: Call = {}): Promise<readonly KubernetesPod[]> {
    const selector = encodeURIComponent(`batch.kubernetes.io/job-name=${jobName}`);
    const path = `/api/v1/${this.#place()}/pods?labelSelector=${selector}&limit=20`;
    const answer = await this.#ask({ method: 'GET', path }, call);
    return parse(answer, podListSchema).items;
  }

  close(): void {
    this.#agent.destroy();
  }

  #place(): string {
    return `namespaces/${encodeURIComponent(this.#cluster.namespace)}`;
  }

  #jobsPath(): string {
    return `/apis/batch/v1/${this.#place()}/jobs`;
  }

  async #ask(question: Question, { signal }: Call): Promise<Answer> {
    let failure = '';
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      signal?.throwIfAborted();
      const answer = await this.#send(question, signal).catch((error: Error) => error);
      signal?.throwIfAborted();
      const isAnswer = !(answer instanceof Error);
      if (isAnswer && isGood(answer, question)) return answer;
      if (isAnswer && !isTransient(answer.status)) {
        throw new ClusterRefused(answer.status, `${question.method} ${told(answer)}`);
      }
      failure = isAnswer ? told(answer) : answer.message;
      if (attempt === MAX_TRIES) break;
      const boundMs = Math.min(this.#firstPauseMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
      const askedMs = isAnswer ? (answer.retryAfterMs ?? 0) : 0;
      const pauseMs = Math.max(Math.min(askedMs, LONGEST_PAUSE_MS), boundMs * this.#random());
      await setTimeout(pauseMs, undefined, { signal });
    }
    throw new ClusterUnavailable(`${question.method}: ${failure} (${MAX_TRIES} tries)`);
  }

  async #send({ method, path, body }: Question, signal?: AbortSignal): Promise<Answer> {
    const { url, readToken } = this.#cluster;
    const token = (await readToken()).trim();
    const bytes = body && Buffer.from(JSON.stringify(body));
    const headers = {
      accept: JSON_TYPE,
      authorization: `Bearer ${token}`,
      // Without its length, node would send the body of a DELETE as if there were none.
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

function isGood({ status }: Answer, { expected = [] }: Question): boolean {
  return (status >= 200 && status < 300) || expected.includes(status);
}

function isTransient(status: number): boolean {
  return status >= 500 || TRANSIENT.has(status);
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

function retryAfterMs({ headers }: http.IncomingMessage): number | undefined {
  const seconds = Number(headers['retry-after']);
  return Number.isFinite(seconds) ? seconds * 1000 : undefined;
}

/** What a `Status` says, for the log. */
function told({ status, body }: Answer): string {
  let message = body;
  try {
    message = String(JSON.parse(body).message ?? body);
  } catch {
    // a proxy's page
  }
  return `${status} ${message.slice(0, MAX_TOLD_CHARS)}`;
}

function parse<T>(answer: Answer, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(answer.body));
  } catch (cause) {
    throw new ClusterUnavailable('an answer that is none of Kubernetes', { cause });
  }
}
