// A node of a real cluster: binds pods to itself and runs them as processes, as a kubelet does. It mounts secrets, config maps
// and scratch space, probes, runs preStop hooks, keeps grace periods, and reports all this to the API server.
//
// A process shares the machine's files and network. So paths below a mount are rewritten in the environment, and the pod listens
// on a loopback address of its own, which `routeTo` finds by the pod's address.
import { temporaryFolder } from '../../fixtures.ts';
import { type KubeApi, type Listed, type Metadata, repeat, unlessGone } from './api.ts';
import { type Container, PodProcess, type ProcessEnd } from './pod-process.ts';
import { watchProbes } from './probes.ts';

export interface Pod {
  readonly metadata: Metadata;
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly [Container];
    readonly volumes?: readonly Volume[];
    readonly terminationGracePeriodSeconds: number;
  };
  readonly status: { readonly phase: string };
}

export interface Volume {
  readonly name: string;
  readonly secret?: { readonly secretName: string };
  readonly configMap?: { readonly name: string };
  readonly emptyDir?: object;
}

/** What an image's entry point starts. A container's command replaces it. */
export type Images = ReadonlyMap<string, readonly string[]>;

/** How a pod that the cluster deleted, or that ended by itself, went. */
export interface PodEnd extends ProcessEnd {
  readonly pod: string;
  readonly image: string;
  readonly wasDeleted: boolean;
}

const NAME = 'node-1';
/** How often it asks which pods there should be. */
const SYNC_MS = 200;

interface Entry {
  pod: Pod;
  readonly ip: string;
  process?: PodProcess;
  isTerminating: boolean;
}

export class ProcessNode {
  /** All pods that have ended. */
  readonly ends: PodEnd[] = [];
  /** Containers that their liveness probes ended. A real kubelet would start them again. */
  readonly unhealthy: string[] = [];
  readonly #api: KubeApi;
  readonly #images: Images;
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  #addresses = 10;

  private constructor(api: KubeApi, images: Images, folder: string) {
    this.#api = api;
    this.#images = images;
    this.#folder = folder;
  }

  static async start(
    t: { after(fn: () => unknown): void },
    api: KubeApi,
    images: Images,
  ): Promise<ProcessNode> {
    const node = new ProcessNode(api, images, temporaryFolder(t));
    await api.post('/api/v1/nodes', { metadata: { name: NAME } });
    repeat(t, { api, pauseMs: SYNC_MS }, () => node.#sync());
    t.after(() => {
      for (const { process } of node.#entries.values()) process?.kill();
    });
    return node;
  }

  /** The host that answers for a pod's address. */
  static hostOf(podAddress: string): string {
    return podAddress.replace(/^10\.244\./, '127.44.');
  }

  /** The newest pod with this label that runs. */
  find(label: string, value: string): PodProcess {
    const running = [...this.#entries.values()].filter(
      ({ pod, process }) => pod.metadata.labels?.[label] === value && process?.isRunning,
    );
    const { process } = running.at(-1) ?? {};
    if (!process) throw new Error(`no pod with ${label}=${value} runs`);
    return process;
  }

  async #sync(): Promise<void> {
    const { items } = await this.#api.get<Listed<Pod>>('/api/v1/pods');
    for (const pod of items) {
      if (!pod.spec.nodeName) await this.#bind(pod);
      else this.#update(pod);
    }
    const there = new Set(items.map(({ metadata }) => metadata.uid));
    for (const [uid, { process }] of this.#entries) {
      if (there.has(uid)) continue;
      process?.kill();
      this.#entries.delete(uid);
    }
  }

  async #bind({ metadata }: Pod): Promise<void> {
    const { name, namespace, uid, deletionTimestamp } = metadata;
    if (deletionTimestamp) return;
    const target = { kind: 'Node', name: NAME };
    await unlessGone(
      this.#api.post(`/api/v1/namespaces/${namespace}/pods/${name}/binding`, {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name, namespace, uid },
        target,
      }),
    );
  }

  #update(pod: Pod): void {
    const { uid, deletionTimestamp } = pod.metadata;
    let entry = this.#entries.get(uid);
    const isOver = pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
    if (!entry) {
      entry = { pod, ip: `10.244.0.${this.#addresses++}`, isTerminating: false };
      this.#entries.set(uid, entry);
      if (!deletionTimestamp && !isOver) this.#attempt(entry, this.#run(entry));
    }
    entry.pod = pod;
    if (!deletionTimestamp || entry.isTerminating) return;
    entry.isTerminating = true;
    if (entry.process?.isRunning) this.#attempt(entry, entry.process.terminate(graceOf(pod)));
    else this.#attempt(entry, this.#remove(pod));
  }

  /** A pod that does not start is reported, and stays as it is. */
  #attempt({ pod }: Entry, work: Promise<unknown>): void {
    work.catch((error) => this.unhealthy.push(`${pod.metadata.name}: ${error}`));
  }

  async #run(entry: Entry): Promise<void> {
    const { pod, ip } = entry;
    const process = await PodProcess.start(pod, {
      api: this.#api,
      folder: `${this.#folder}/${pod.metadata.uid}`,
      host: ProcessNode.hostOf(ip),
      images: this.#images,
    });
    if (entry.isTerminating || this.#api.isClosed) return process.kill(); // meanwhile
    entry.process = process;
    const startedAt = now();
    const running = { running: { startedAt } };
    let isReady = false;
    let isStarted = false;
    const report = () =>
      this.#report(pod, { phase: 'Running', ip, isReady, isStarted, state: running });
    const probing = watchProbes(pod.spec.containers[0], {
      host: ProcessNode.hostOf(ip),
      isOver: () => !process.isRunning,
      isTerminating: () => entry.isTerminating,
      async onStarted() {
        isStarted = true;
        await report();
      },
      async onReady(value) {
        isReady = value;
        await report();
      },
      onDead: () => {
        this.unhealthy.push(`${pod.metadata.name} fails its liveness probe`);
        process.kill();
      },
    });
    await report();
    const end = await process.ended;
    await probing;
    const { name } = pod.metadata;
    const { image } = pod.spec.containers[0];
    this.ends.push({ ...end, pod: name, image, wasDeleted: entry.isTerminating });
    const { code: exitCode, reason } = end;
    const state = { terminated: { exitCode, reason, startedAt, finishedAt: now() } };
    const phase = exitCode === 0 ? 'Succeeded' : 'Failed';
    await this.#report(pod, { phase, ip, isReady: false, isStarted: false, state });
    if (entry.isTerminating) await this.#remove(pod);
  }

  async #remove({ metadata }: Pod): Promise<void> {
    const { namespace, name, uid } = metadata;
    await unlessGone(
      this.#api.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, {
        gracePeriodSeconds: 0,
        preconditions: { uid },
      }),
    );
  }

  async #report(
    { metadata, spec }: Pod,
    {
      phase,
      ip,
      isReady,
      isStarted,
      state,
    }: { phase: string; ip: string; isReady: boolean; isStarted: boolean; state: object },
  ): Promise<void> {
    const condition = (type: string, holds: boolean) => ({
      type,
      status: holds ? 'True' : 'False',
    });
    const { name, image } = spec.containers[0];
    const status = {
      phase,
      podIP: ip,
      podIPs: [{ ip }],
      startTime: now(),
      conditions: [
        condition('PodScheduled', true),
        condition('Initialized', true),
        condition('ContainersReady', isReady),
        condition('Ready', isReady),
      ],
      containerStatuses: [
        { name, image, imageID: image, ready: isReady, started: isStarted, restartCount: 0, state },
      ],
    };
    const path = `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}/status`;
    await unlessGone(this.#api.patch(path, { metadata: { uid: metadata.uid }, status }));
  }
}

function graceOf({ metadata, spec }: Pod): number {
  return metadata.deletionGracePeriodSeconds ?? spec.terminationGracePeriodSeconds;
}

function now(): string {
  return new Date().toISOString().replace(/\.\d+/, '');
}
