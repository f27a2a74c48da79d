// The process of a pod with one container: its environment, its mounts, and how it ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { KubeApi } from './api.ts';
import type { Images, Pod, Volume } from './node.ts';

export interface Probe {
  readonly httpGet: { readonly path: string; readonly port: number | string };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly envFrom?: readonly { readonly secretRef: { readonly name: string } }[];
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  readonly volumeMounts?: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly subPath?: string;
  }[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: {
    readonly preStop?: { readonly exec: { readonly command: readonly string[] } };
  };
}

export interface ProcessEnd {
  readonly code: number;
  /** As of a terminated container. */
  readonly reason: 'Completed' | 'Error' | 'OOMKilled';
  /** Whether its grace period ended before it did. */
  readonly wasKilled: boolean;
}

interface PodPlace {
  readonly api: KubeApi;
  /** For its volumes. */
  readonly folder: string;
  /** Where it listens. */
  readonly host: string;
  readonly images: Images;
}

export class PodProcess {
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;
  readonly #container: Container;
  #isLate = false;

  private constructor(child: ChildProcess, container: Container) {
    this.#child = child;
    this.#container = container;
    this.ended = once(child, 'exit').then(([code, signal]) => {
      const wasKilled = this.#isLate;
      if (signal === 'SIGKILL') return { code: 137, reason: 'OOMKilled', wasKilled };
      return { code: code ?? 128, reason: code === 0 ? 'Completed' : 'Error', wasKilled };
    });
  }

  static async start({ metadata, spec }: Pod, place: PodPlace): Promise<PodProcess> {
    const { api, folder, host, images } = place;
    const [container] = spec.containers;
    const entry = container.command ?? images.get(container.image);
    if (!entry) throw new Error(`there is no image ${container.image}`);
    const volumes = new Map<string, string>();
    for (const volume of spec.volumes ?? []) {
      const directory = path.join(folder, volume.name);
      await fill(volume, directory, { api, namespace: metadata.namespace });
      volumes.set(volume.name, directory);
    }
    const own: Record<string, string> = {};
    for (const { secretRef } of container.envFrom ?? []) {
      const secrets = await readData(api, metadata.namespace, 'secrets', secretRef.name);
      for (const [name, value] of secrets) own[name] = value.toString('utf8');
    }
    const mounted = mountsOf(container, volumes);
    for (const { name, value = '' } of container.env ?? []) own[name] = mounted(value);
    // The pod's own network has one address.
    if (own['HOST'] === '0.0.0.0') own['HOST'] = host;
    const [program, ...args] = [...entry, ...(container.args ?? [])];
    const child = spawn(program!, args, {
      env: { PATH: process.env['PATH'], HF_HUB_OFFLINE: '1', ...own },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    await once(child, 'spawn');
    return new PodProcess(child, container);
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The preStop hook, SIGTERM, and SIGKILL once the grace period is over, which began before the hook. */
  async terminate(graceSeconds: number): Promise<void> {
    const grace = setTimeout(() => {
      this.#isLate = true;
      this.kill();
    }, graceSeconds * 1_000);
    const hook = this.#container.lifecycle?.preStop;
    if (hook) {
      const [program, ...args] = hook.exec.command;
      await once(spawn(program!, args, { stdio: 'ignore' }), 'exit');
    }
    this.#child.kill('SIGTERM');
    await this.ended;
    clearTimeout(grace);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Returns what a path below a mount is on this machine. Other texts stay as they are. */
function mountsOf({ volumeMounts = [] }: Container, volumes: ReadonlyMap<string, string>) {
  const mounts = volumeMounts
    .map(({ name, mountPath, subPath = '' }) => {
      const target = path.join(volumes.get(name)!, subPath);
      mkdirSync(target, { recursive: true });
      return { mountPath, target };
    })
    .sort((a, b) => b.mountPath.length - a.mountPath.length);
  return (value: string): string => {
    const mount = mounts.find(
      ({ mountPath }) => value === mountPath || value.startsWith(`${mountPath}/`),
    );
    return mount ? mount.target + value.slice(mount.mountPath.length) : value;
  };
}

async function fill(
  { secret, configMap }: Volume,
  directory: string,
  { api, namespace }: { api: KubeApi; namespace: string },
): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const files = secret
    ? await readData(api, namespace, 'secrets', secret.secretName)
    : configMap
      ? await readData(api, namespace, 'configmaps', configMap.name)
      : [];
  for (const [name, content] of files) writeFileSync(path.join(directory, name), content);
}

async function readData(
  api: KubeApi,
  namespace: string,
  kind: 'secrets' | 'configmaps',
  name: string,
): Promise<[string, Buffer][]> {
  const { data = {} } = await api.get<{ data?: Record<string, string> }>(
    `/api/v1/namespaces/${namespace}/${kind}/${name}`,
  );
  const encoding = kind === 'secrets' ? 'base64' : 'utf8';
  return Object.entries(data).map(([key, value]) => [key, Buffer.from(value, encoding)]);
}
