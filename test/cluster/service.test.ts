// A server's jobs whose trainers are in a cluster, through the service: servers end and come back while pods train.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { createKubernetesRunner } from '../../src/cluster/kubernetes-runner.ts';
import { createLog } from '../../src/common/log.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import { BASE, gates, startServer } from '../jobs/simulated.ts';
import { until } from '../until.ts';
import { FakeCluster } from './fake-cluster.ts';
import { nearKubelet } from './kubelet.ts';

const entry = new URL('../jobs/simulated-trainer.mjs', import.meta.url);
const log = createLog('silent');

async function startCluster(t: TestContext) {
  const store = createMemoryStore();
  const guarded = guardStore(store, log);
  const kubelet = nearKubelet(t, { store: guarded, digest: BASE.digest, entry });
  const cluster = await FakeCluster.start(t, { kubelet });
  const readToken = async () => cluster.token;
  const api = new ApiClient({ url: cluster.url, namespace: 'space', readToken });
  t.after(() => api.close());
  const runner = createKubernetesRunner({
    store: guarded,
    api,
    planner: createChildRunner({ log, entry }),
    template: { spec: { containers: [{ image: 'lorikeet' }] } },
    queue: 'training',
    baseDigest: BASE.digest,
    log,
    pollMs: 5,
    lookMs: 5,
  });
  return { store, cluster, runner };
}

test('a job goes on while there is no server; the next one publishes the same bytes', async (t) => {
  const { store, cluster, runner } = await startCluster(t);
  const near = startServer(createMemoryStore());
  const whole = await near.until(await near.create({ steps: 6 }), 'succeeded');
  const { folder, open } = gates();
  const first = startServer(store, { runner });
  const job = await first.create({ steps: 6, gates: folder });
  open(1, 2, 3);
  await until('step 3', async () => (await first.get(job)).progress?.step === 3);
  await first.worker.close(10_000);
  const left = await first.get(job);
  assert.deepEqual([left.status, left.lease], ['running', undefined]);
  open(4, 5, 6);
  await cluster.until(({ condition }) => condition === 'Complete');
  const second = startServer(store, { runner });
  const done = await second.until(job, 'succeeded');
  assert.equal(done.result?.digest, whole.result?.digest);
  assert.equal(done.retries, 0);
  assert.equal(done.checkpoints.length, 3);
  const steps = (await second.messages(job)).filter((text) => text.startsWith('Step '));
  assert.equal(steps.length, 6, 'each once');
  assert.equal(cluster.seen.filter(({ method }) => method === 'POST').length, 1);
});

test('a paused job leaves the cluster, goes on when resumed, and leaves nothing in the store', async (t) => {
  const { store, cluster, runner } = await startCluster(t);
  const { folder, open } = gates();
  const server = startServer(store, { runner });
  const job = await server.create({ steps: 4, gates: folder });
  open(1);
  await until('step 1', async () => (await server.get(job)).progress?.step === 1);
  await server.service.act('acme', job.id, 'pause');
  await until('an empty cluster', async () => cluster.jobs.size === 0);
  open(2, 3, 4);
  await server.service.act('acme', job.id, 'resume');
  await server.until(job, 'succeeded');
  assert.equal(cluster.seen.filter(({ method }) => method === 'POST').length, 2);
  await until('an empty run folder', async () => {
    for await (const { key } of store.list(`acme/.jobs/${job.id}/run/`)) return void key;
    return true;
  });
});

test('a cancelled job leaves the cluster', async (t) => {
  const { store, cluster, runner } = await startCluster(t);
  const server = startServer(store, { runner });
  const job = await server.create({ steps: 2, gates: gates().folder });
  await cluster.until(({ pod }) => pod !== undefined);
  await server.service.act('acme', job.id, 'cancel');
  await until('an empty cluster', async () => cluster.jobs.size === 0);
  assert.equal((await server.get(job)).status, 'cancelled');
});
