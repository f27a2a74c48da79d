// A small Kubernetes: an API server over HTTP or HTTPS with the calls that runners make, and the controllers that matter to
// them. `kubelet` starts the pod of a Job. The cluster can fail, refuse, admit, preempt and evict.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

interface RunningPod {
  /** `reason` as of a terminated container, such as OOMKilled. */
  readonly ended: Promise<{ readonly code: number; readonly reason?: string }>;
  /** SIGTERM: the pod has its grace, which here has no end. */
  terminate(): void;
}

interface PodManifest {
  readonly spec: {
    readonly containers: readonly {
      readonly command: readonly string[];
      readonly args: readonly string[];
      readonly env?: readonly { readonly name: string; readonly value: string }[];
    }[];
  };
}

export type Kubelet = (pod: PodManifest) => RunningPod;

export interface JobManifest {
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: {
    suspend: boolean;
    readonly backoffLimit: number;
    readonly template: PodManifest;
  };
}

interface JobState {
  readonly manifest: JobManifest;
  readonly uid: string;
  deletionTimestamp?: string;
  condition?: 'Complete' | 'Failed';
  pod?: RunningPod | undefined;
  /** Of a pod that does not start. */
  waiting?: string;
  ends: { code: number; reason: string }[];
}

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly token: string;
}

/** Answers a call instead of the server; undefined: the server answers. */
export type Fault = (
  seen: Seen,
) => { status: number; headers?: object; body?: string } | 'cut' | undefined;

export interface FakeClusterOptions {
  readonly kubelet?: Kubelet;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export class FakeCluster {
  readonly seen: Seen[] = [];
  readonly jobs = new Map<string, JobState>();
  url = '';
  token = 'token-1';
  /** Stands before every call. */
  fault: Fault = () => undefined;
  /** Whether Kueue admits a Job as it comes. */
  admitsAtOnce = true;
  readonly #kubelet: Kubelet;
  readonly #changed = new Set<() => void>();

  private constructor({ kubelet }: FakeClusterOptions) {
    this.#kubelet = kubelet ?? (() => ({ ended: new Promise(() => {}), terminate() {} }));
  }

  static async start(t: TestContext, options: FakeClusterOptions = {}): Promise<FakeCluster> {
    const cluster = new FakeCluster(options);
    const listener: http.RequestListener = (request, response) =>
      void cluster.#serve(request, response);
    const server = options.tls
      ? https.createServer(options.tls, listener)
      : http.createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    cluster.url = `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`;
    t.after(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return cluster;
  }

  /** Resolves when this is so of some Job. */
  async until(isSo: (job: JobState) => boolean): Promise<JobState> {
    for (;;) {
      const found = [...this.jobs.values()].find(isSo);
      if (found) return found;
      await new Promise<void>((resolve) => this.#changed.add(resolve));
    }
  }

  /** As Kueue does. */
  admit(name: string): void {
    const job = this.jobs.get(name)!;
    job.manifest.spec.suspend = false;
    this.#startPod(job);
  }

  /** As Kueue does for a more important one: the pod goes, and does not count. */
  async preempt(name: string): Promise<void> {
    const job = this.jobs.get(name)!;
    job.manifest.spec.suspend = true;
    const { pod } = job;
    job.pod = undefined;
    pod?.terminate();
    await pod?.ended;
    this.#tell();
  }

  /** As `kubectl delete job`, which waits for the pod. */
  async remove(name: string): Promise<void> {
    const job = this.jobs.get(name);
    if (!job) return;
    job.deletionTimestamp ??= '2026-01-01T00:00:00Z';
    job.pod?.terminate();
    await job.pod?.ended;
    this.jobs.delete(name);
    this.#tell();
  }

  #startPod(job: JobState): void {
    if (job.waiting === undefined) this.#runPod(job);
    this.#tell();
  }

  #runPod(job: JobState): void {
    const pod = this.#kubelet(job.manifest.spec.template);
    job.pod = pod;
    void pod.ended.then(({ code, reason = code === 0 ? 'Completed' : 'Error' }) => {
      if (job.pod !== pod) return; // preempted
      job.ends.push({ code, reason });
      job.condition = code === 0 ? 'Complete' : 'Failed';
      this.#tell();
    });
  }

  #tell(): void {
    for (const resolve of this.#changed) resolve();
    this.#changed.clear();
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.url);
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    const seen = { method: request.method!, path: url.pathname, token };
    this.seen.push(seen);
    const fault = this.fault(seen);
    if (fault === 'cut') return void request.socket.destroy();
    const answer = fault ?? this.#answer(seen, url, text);
    const {
      status,
      headers = {},
      body = '',
    } = answer as Exclude<ReturnType<Fault>, 'cut' | undefined>;
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
  }

  #answer({ method, token }: Seen, url: URL, text: string): { status: number; body: string } {
    if (token !== this.token) return failure(401, 'Unauthorized', 'Unauthorized');
    const [, name] =
      /^\/apis\/batch\/v1\/namespaces\/space\/jobs(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    if (url.pathname === '/api/v1/namespaces/space/pods') return this.#listPods(url);
    if (method === 'POST' && name === undefined) return this.#create(JSON.parse(text));
    const job = name === undefined ? undefined : this.jobs.get(name);
    if (!job) return failure(404, 'NotFound', `jobs.batch "${name}" not found`);
    if (method === 'DELETE') {
      const { propagationPolicy } = JSON.parse(text);
      if (propagationPolicy !== 'Foreground') throw new Error('pods are to go with their Job');
      void this.remove(name!);
    }
    return { status: 200, body: JSON.stringify(shown(job)) };
  }

  #create(manifest: JobManifest): { status: number; body: string } {
    const { name } = manifest.metadata;
    if (this.jobs.has(name))
      return failure(409, 'AlreadyExists', `jobs.batch "${name}" already exists`);
    const job: JobState = { manifest, uid: randomUUID(), ends: [] };
    this.jobs.set(name, job);
    if (!manifest.spec.suspend) this.#startPod(job);
    else if (this.admitsAtOnce) this.admit(name);
    else this.#tell();
    return { status: 201, body: JSON.stringify(shown(job)) };
  }

  #listPods(url: URL): { status: number; body: string } {
    const name = /^batch\.kubernetes\.io\/job-name=(.+)$/.exec(
      url.searchParams.get('labelSelector') ?? '',
    )?.[1];
    const job = this.jobs.get(name ?? '');
    const states = [
      ...(job?.waiting === undefined ? [] : [{ waiting: { reason: job.waiting } }]),
      ...(job?.ends ?? []).map(({ code, reason }) => ({ terminated: { exitCode: code, reason } })),
    ];
    const items = states.map((state, i) => ({
      metadata: { name: `${name}-${i}` },
      status: { containerStatuses: [{ state }] },
    }));
    return { status: 200, body: JSON.stringify({ kind: 'PodList', items }) };
  }
}

function shown({ manifest, uid, deletionTimestamp, condition, pod, waiting }: JobState): object {
  const isActive = condition === undefined && (pod !== undefined || waiting !== undefined);
  return {
    ...manifest,
    metadata: { ...manifest.metadata, uid, ...(deletionTimestamp && { deletionTimestamp }) },
    status: {
      ...(isActive && { active: 1, ready: waiting === undefined ? 1 : 0 }),
      ...(condition && { conditions: [{ type: condition, status: 'True' }] }),
    },
  };
}

function failure(status: number, reason: string, message: string) {
  const body = JSON.stringify({ kind: 'Status', status: 'Failure', reason, message, code: status });
  return { status, body };
}
