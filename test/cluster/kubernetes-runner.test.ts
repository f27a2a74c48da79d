// Trainers in a cluster: the contract of every runner, and the events that only a cluster has. The API server is a fake, the
// trainers are real processes, the store is a folder.
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createFsStore } from '../../adapters/store/fs.ts';
import { type GuardedStore, guardStore } from '../../adapters/store/guarded-store.ts';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { Attempt, attemptNumbers } from '../../src/cluster/attempt.ts';
import {
  createKubernetesRunner,
  type KubernetesRunnerOptions,
} from '../../src/cluster/kubernetes-runner.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import type { JobRunner } from '../../src/jobs/runner.ts';
import { temporaryFolder } from '../fixtures.ts';
import {
  again,
  run,
  type Script,
  startRun,
  testRunner,
  workOf,
} from '../jobs/runner-conformance.ts';
import { FakeCluster } from './fake-cluster.ts';
import { BASE_DIGEST, nearKubelet } from './kubelet.ts';

const entry = new URL('../jobs/fake-trainer.mjs', import.meta.url);
const log = { info() {}, warn() {}, error() {} };
const job = { tenant: 'local', id: 'ftjob-1' };

interface Setting {
  readonly cluster: FakeCluster;
  readonly store: GuardedStore;
  /** The store's. */
  readonly folder: string;
  runner(changes?: Partial<KubernetesRunnerOptions>): JobRunner;
}

async function setUp(t: TestContext, place: { digest?: string } = {}): Promise<Setting> {
  const folder = temporaryFolder(t);
  const store = guardStore(createFsStore(folder), log);
  const kubelet = nearKubelet(t, { store, ...place });
  const cluster = await FakeCluster.start(t, { kubelet });
  const api = new ApiClient(
    { url: cluster.url, namespace: 'space', readToken: async () => cluster.token },
    { firstPauseMs: 1 },
  );
  t.after(() => api.close());
  const runner = (changes: Partial<KubernetesRunnerOptions> = {}) =>
    createKubernetesRunner({
      store,
      api,
      planner: createChildRunner({ log, entry }),
      template: { spec: { containers: [{ image: 'lorikeet' }] } },
      queue: 'training',
      baseDigest: BASE_DIGEST,
      log,
      pollMs: 5,
      lookMs: 5,
      ...changes,
    });
  return { cluster, store, folder, runner };
}

testRunner('in a cluster', async (t) => (await setUp(t)).runner());

const isEvent = (message: TrainerMessage, code: string) =>
  message.type === 'event' && message.code === code;

const namesOf = (messages: readonly TrainerMessage[]) =>
  messages.map((told) => (told.type === 'event' ? told.code : told.type));

/** Starts a run; `told` resolves at its first message of this code. */
function begin(runner: JobRunner, work: ReturnType<typeof workOf>, code: string) {
  let tell = () => {};
  const told = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const run = startRun(runner, work, (message) => {
    if (isEvent(message, code)) tell();
  });
  return { ...run, told };
}

test('a job waits in the queue until it is admitted, and reports it', async (t) => {
  const { cluster, runner } = await setUp(t);
  cluster.admitsAtOnce = false;
  const { ended, messages, told } = begin(runner(), workOf(t, [['trained']]), 'waiting');
  const { manifest } = await cluster.until(() => true);
  assert.equal(manifest.metadata.labels['kueue.x-k8s.io/queue-name'], 'training');
  await told;
  cluster.admit(manifest.metadata.name);
  assert.deepEqual(await ended, { kind: 'succeeded' });
  assert.deepEqual(namesOf(messages), ['waiting', 'card', 'trained']);
});

test('a pause of a job that is still queued takes it out of the queue', async (t) => {
  const { cluster, runner } = await setUp(t);
  cluster.admitsAtOnce = false;
  const { stop, ended, told } = begin(runner(), workOf(t, [['trained']]), 'waiting');
  await told;
  stop.request('pause');
  assert.deepEqual(await ended, { kind: 'paused' });
  assert.equal(cluster.jobs.size, 0);
});

test('a pod that cannot start is reported once', async (t) => {
  const { cluster, runner } = await setUp(t);
  cluster.admitsAtOnce = false;
  const { stop, ended, messages, told } = begin(runner(), workOf(t, []), 'waiting');
  const state = await cluster.until(() => true);
  await told;
  state.waiting = 'ImagePullBackOff';
  cluster.admit(state.manifest.metadata.name);
  while (messages.length < 2) await new Promise((resolve) => setImmediate(resolve));
  stop.request('cancel');
  assert.deepEqual(await ended, { kind: 'cancelled' });
  const texts = messages.map((told) => 'message' in told && told.message);
  assert.deepEqual(texts, [
    'The trainer waits in the cluster: its turn in the queue',
    'The trainer waits in the cluster: ImagePullBackOff',
  ]);
});

test('a preempted run continues from its checkpoint when it is admitted again', async (t) => {
  const { cluster, runner, store } = await setUp(t);
  const script: Script = [['steps', 2], ['checkpoint', 2], ['untilPaused'], ['paused']];
  const resumed: Script = [['tellStart'], ['trained']];
  const work = workOf(t, script);
  const begun = begin(runner(), { ...work, job: { ...work.job, resumed } }, 'checkpoint');
  await begun.told;
  const { manifest } = await cluster.until(() => true);
  await cluster.preempt(manifest.metadata.name);
  cluster.admit(manifest.metadata.name);
  assert.deepEqual(await begun.ended, { kind: 'succeeded' });
  const told = namesOf(begun.messages).filter((name) => name !== 'waiting');
  assert.deepEqual(told, ['step', 'step', 'checkpoint', 'paused', 'start', 'card', 'trained']);
  assert.match(JSON.stringify(begun.messages), /command\\":\\"resume/);
  assert.equal((await attemptNumbers(store, job, {})).length, 1);
});

test('a run goes on without a server, and the next server gets the messages that the first did not', async (t) => {
  const { cluster, runner } = await setUp(t);
  const script: Script = [['snapshot', 1], ['event', 'first', ''], ['untilPaused']];
  const resumed: Script = [['event', 'second', ''], ['trained']];
  const work = workOf(t, [...script, ['checkpoint', 1], ['paused']]);
  const first = begin(runner(), { ...work, job: { ...work.job, resumed } }, 'first');
  await first.told;
  first.stop.request('detach');
  assert.deepEqual(await first.ended, { kind: 'detached' });
  const { manifest } = await cluster.until(() => true);
  // The pod is replaced, and its successor ends, while nobody listens.
  await cluster.preempt(manifest.metadata.name);
  cluster.admit(manifest.metadata.name);
  await cluster.until(({ condition }) => condition === 'Complete');
  const { end, messages } = await run(runner(), again(work));
  assert.deepEqual(end, { kind: 'succeeded' });
  const told = namesOf(messages).filter((name) => name !== 'waiting');
  assert.ok(
    ['checkpoint', 'paused', 'second', 'card', 'trained'].every((name) => told.includes(name)),
  );
  assert.equal(cluster.seen.filter(({ method }) => method === 'POST').length, 1);
});

/** Resolves when the server under this lease listens to the newest attempt. */
async function untilTaken(store: GuardedStore, token: number): Promise<void> {
  const [number] = await attemptNumbers(store, job, {});
  const attempt = Attempt.of(store, job, number!);
  while ((await attempt.read())?.token !== token) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a server that lost the job cannot end the run of the one that has it', async (t) => {
  const { cluster, store, runner } = await setUp(t);
  const work = workOf(t, [['event', 'begun', ''], ['untilPaused'], ['paused']]);
  const old = begin(runner(), work, 'begun');
  await old.told;
  const next = again(work);
  const heir = begin(runner(), next, 'begun');
  await untilTaken(store, next.fencingToken);
  old.stop.request('cancel');
  assert.deepEqual(await old.ended, { kind: 'cancelled' });
  assert.equal(cluster.seen.filter(({ method }) => method === 'DELETE').length, 0);
  heir.stop.request('pause');
  assert.deepEqual(await heir.ended, { kind: 'paused' });
});

test('a server under an older lease leaves the job alone', async (t) => {
  const { runner } = await setUp(t);
  const work = workOf(t, [['event', 'begun', ''], ['forever']]);
  const old = { ...work };
  const heir = begin(runner(), again(work, { isResume: false }), 'begun');
  await heir.told;
  assert.deepEqual((await run(runner(), old)).end, { kind: 'detached' });
  heir.stop.request('cancel');
  await heir.ended;
});

test('if an attempt has two pods, the slower one stops silently', async (t) => {
  const { cluster, runner, store } = await setUp(t);
  const script: Script = [
    ['event', 'begun', ''],
    ['untilPaused'],
    ['event', 'late', ''],
    ['trained'],
  ];
  const { ended, messages, told } = begin(runner(), workOf(t, script), 'begun');
  await told;
  const { manifest, pod } = await cluster.until(() => true);
  // The first is cut off from the rest of the cluster, but not from the store.
  const other = nearKubelet(t, { store })(manifest.spec.template);
  const [number] = await attemptNumbers(store, job, {});
  const attempt = Attempt.of(store, job, number!);
  while ((await attempt.lastBatch()) < 2) await new Promise((resolve) => setImmediate(resolve));
  pod!.terminate();
  assert.equal((await pod!.ended).code, 1);
  assert.equal((await ended).kind, 'lost');
  assert.equal((await other.ended).code, 1); // nobody waits for it any more
  assert.deepEqual(
    namesOf(messages).filter((name) => name !== 'waiting'),
    ['begun', 'begun'],
  );
});

test('a pod that ran out of memory is reported; one that was deleted by hand is lost', async (t) => {
  const { cluster, runner } = await setUp(t);
  const killed = begin(runner(), workOf(t, [['event', 'begun', ''], ['forever']]), 'begun');
  await killed.told;
  const state = await cluster.until(() => true);
  state.pod = undefined;
  state.ends.push({ code: 137, reason: 'OOMKilled' });
  state.condition = 'Failed';
  const end = await killed.ended;
  assert.equal('error' in end && end.error.code, 'out_of_memory');

  const deleted = begin(
    runner(),
    workOf(t, [['event', 'begun', ''], ['forever']], { jobId: 'ftjob-2' }),
    'begun',
  );
  await deleted.told;
  cluster.jobs.clear();
  assert.match(JSON.stringify(await deleted.ended), /"lost".*is gone before its run was done/);
});

test('a pod that is deleted by hand with its grace counts as paused', async (t) => {
  const { cluster, runner } = await setUp(t);
  const script: Script = [['event', 'begun', ''], ['untilPaused'], ['checkpoint', 1], ['paused']];
  const begun = begin(runner(), workOf(t, script), 'begun');
  await begun.told;
  await cluster.remove([...cluster.jobs.keys()][0]!);
  assert.deepEqual(await begun.ended, { kind: 'paused' });
});

test('a refused run is lost, and only the log has the reason', async (t) => {
  const { cluster, runner } = await setUp(t);
  const lines: unknown[] = [];
  const own = { ...log, error: (fields: unknown) => void lines.push(fields) };
  const body = JSON.stringify({ message: 'jobs.batch is forbidden: secret-account cannot create' });
  cluster.fault = ({ method }) => (method === 'POST' ? { status: 403, body } : undefined);
  const { end } = await run(runner({ log: own }), workOf(t, []));
  assert.equal(end.kind, 'lost');
  assert.doesNotMatch(JSON.stringify(end), /secret-account/);
  assert.match(String((lines[0] as { err: Error }).err.message), /secret-account/);
});

test('an outage of cluster and store only costs time', async (t) => {
  const { cluster, store, runner } = await setUp(t);
  let failures = 0;
  cluster.fault = () => (failures++ % 3 === 0 ? { status: 500, body: '' } : undefined);
  const unavailable = new ServeError('store_unavailable', 'The store does not answer.');
  let reads = 0;
  const flaky: GuardedStore = {
    ...store,
    get(key, call) {
      const fails = key.includes('/messages/') && reads++ === 1;
      return fails ? Promise.reject(unavailable) : store.get(key, call);
    },
  };
  const { end } = await run(runner({ store: flaky }), workOf(t, [['steps', 3], ['trained']]));
  assert.deepEqual(end, { kind: 'succeeded' });
});

test('a pod with another base refuses the job', async (t) => {
  const { runner } = await setUp(t, { digest: 'another' });
  const { end } = await run(runner(), workOf(t, [['trained']]));
  assert.equal('error' in end && end.error.code, 'base_mismatch');
});

test('the pod checks its inputs: rows that were changed in the store are not learned', async (t) => {
  const { cluster, runner, folder } = await setUp(t);
  cluster.admitsAtOnce = false;
  const begun = begin(runner(), workOf(t, [['trained']]), 'waiting');
  await begun.told;
  const inputs = path.join(folder, 'local/.jobs/ftjob-1/run/inputs');
  for (const name of readdirSync(inputs)) writeFileSync(path.join(inputs, name), 'other rows');
  cluster.admit([...cluster.jobs.keys()][0]!);
  assert.equal((await begun.ended).kind, 'failed');
});

test('a damaged result is refused', async (t) => {
  const { cluster, runner, folder } = await setUp(t);
  const work = workOf(t, [['trained']]);
  const first = begin(runner({ pollMs: 1e6 }), work, 'never');
  await cluster.until(({ condition }) => condition === 'Complete');
  first.stop.request('detach');
  await first.ended;
  const files = path.join(folder, 'local/.jobs/ftjob-1/run/pods');
  for (const name of readdirSync(files, { recursive: true }) as string[]) {
    if (name.endsWith('.safetensors')) writeFileSync(path.join(files, name), 'adaptor');
  }
  const { end, messages } = await run(runner(), again(work));
  assert.equal(end.kind, 'lost');
  assert.ok(!namesOf(messages).includes('trained'));
});

test('if the cluster does not answer, the pod ends a cancelled run', async (t) => {
  const { cluster, runner } = await setUp(t);
  const begun = begin(runner(), workOf(t, [['event', 'begun', ''], ['forever']]), 'begun');
  await begun.told;
  const { pod } = await cluster.until(() => true);
  cluster.fault = () => 'cut';
  begun.stop.request('cancel');
  assert.deepEqual(await begun.ended, { kind: 'cancelled' });
  assert.equal((await pod!.ended).code, 1);
});

test('a new attempt removes the objects of earlier ones', async (t) => {
  const { runner, store } = await setUp(t);
  const work = workOf(t, [['die', 'SIGKILL']]);
  assert.equal((await run(runner(), work)).end.kind, 'lost');
  const next = again(work, { isResume: false });
  assert.equal((await run(runner(), next)).end.kind, 'lost');
  assert.deepEqual(await attemptNumbers(store, job, {}), [next.fencingToken]);
});
