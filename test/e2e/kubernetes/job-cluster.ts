// Clusters that run trainers as pods: the fake one, and Kubernetes' own controllers with the chart's account, role and trainer
// pod. Both let a test play Kueue and the kernel.
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createFsStore } from '../../../adapters/store/fs.ts';
import type { ObjectStore } from '../../../adapters/store/store.ts';
import type { Cluster } from '../../../src/cluster/api-client.ts';
import { parseTrainerTemplate, type TrainerTemplate } from '../../../src/cluster/kubernetes-job.ts';
import { FakeCluster } from '../../cluster/fake-cluster.ts';
import { type ProcessPod, processKubelet } from '../../cluster/kubelet.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { type KubeApi, type Listed, type Metadata, repeat } from './api.ts';
import { NAMESPACE, prepareChart, RELEASE, startChartCluster } from './chart.ts';

export interface JobCluster {
  /** As the server has it. */
  readonly access: Cluster;
  readonly store: ObjectStore;
  readonly template: TrainerTemplate;
  /** As the kernel does when memory runs out: the newest trainer. */
  killPod(): void;
  /** As Kueue does for a more important one: the newest Job's pod goes, and does not count. */
  preempt(): Promise<void>;
  /** As Kueue does: the newest Job goes on. New ones are admitted as they come. */
  admit(): Promise<void>;
}

export const JOB_CLUSTERS = {
  'the fake cluster': { start: startFake, prepare: async () => false as const },
  Kubernetes: { start: startReal, prepare: prepareChart },
} as const;

async function startFake(t: TestContext): Promise<JobCluster> {
  const folder = temporaryFolder(t);
  const pods: ProcessPod[] = [];
  const cluster = await FakeCluster.start(t, { kubelet: processKubelet((pod) => pods.push(pod)) });
  const toy = path.resolve('models/toy');
  const settings = { LORIKEET_HOME: temporaryFolder(t), LORIKEET_STORE: folder };
  const env = Object.entries({ ...settings, LORIKEET_MODEL: toy, LOG_LEVEL: 'error' });
  const container = {
    image: 'lorikeet',
    command: [process.execPath, path.resolve('bin/lorikeet.mjs')],
    env: env.map(([name, value]) => ({ name, value })),
    resources: { requests: { cpu: 1 } },
  };
  const newest = () => [...cluster.jobs.keys()].at(-1)!;
  return {
    access: { url: cluster.url, namespace: 'space', readToken: async () => cluster.token },
    store: createFsStore(folder),
    template: { spec: { containers: [container] } },
    killPod: () => pods.at(-1)!.kill('SIGKILL'),
    preempt: () => cluster.preempt(newest()),
    admit: async () => cluster.admit(newest()),
  };
}

const JOBS = `/apis/batch/v1/namespaces/${NAMESPACE}/jobs`;
const SYNC_MS = 100;

interface Job {
  readonly metadata: Metadata;
  readonly spec: { readonly suspend?: boolean };
}

async function startReal(t: TestContext): Promise<JobCluster> {
  const { api, node, store, apply } = await startChartCluster(t);
  const jobs = { runner: 'kubernetes', queue: 'training', resources: { requests: { cpu: '1' } } };
  await apply({ replicas: 0, jobs: { ...jobs, env: { LOG_LEVEL: 'error' } } });
  const space = `/api/v1/namespaces/${NAMESPACE}`;
  const map = await api.get<{ data: { 'pod.json': string } }>(
    `${space}/configmaps/${RELEASE}-trainer`,
  );
  const { status } = await api.post<{ status: { token: string } }>(
    `${space}/serviceaccounts/${RELEASE}/token`,
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  );
  const names = startQueue(t, api);
  const newest = () => names.at(-1)!;
  return {
    access: { url: api.url, ca: api.ca, namespace: NAMESPACE, readToken: async () => status.token },
    store,
    template: parseTrainerTemplate(map.data['pod.json'], 'pod.json'),
    killPod: () => node.find('batch.kubernetes.io/job-name', newest()).kill(),
    async preempt() {
      const selector = encodeURIComponent(`batch.kubernetes.io/job-name=${newest()}`);
      await api.patch(`${JOBS}/${newest()}`, { spec: { suspend: true } });
      const pods = () => api.get<Listed<unknown>>(`${space}/pods?labelSelector=${selector}`);
      while ((await pods()).items.length > 0) await delay(SYNC_MS);
    },
    admit: async () => void (await api.patch(`${JOBS}/${newest()}`, { spec: { suspend: false } })),
  };
}

/** Admits each Job once, as it comes. Returns the names of those that were admitted. */
function startQueue(t: TestContext, api: KubeApi): readonly string[] {
  const names: string[] = [];
  repeat(t, { api, pauseMs: SYNC_MS }, async () => {
    const { items } = await api.get<Listed<Job>>(JOBS);
    for (const { metadata, spec } of items) {
      if (!spec.suspend || names.includes(metadata.name)) continue;
      names.push(metadata.name);
      await api.patch(`${JOBS}/${metadata.name}`, { spec: { suspend: false } });
    }
  });
  return names;
}
