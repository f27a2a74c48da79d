// A trainer's pod as a cluster starts it, the fake one and Kubernetes' own controllers: the real program on the toy base.
// Whatever happens to it, its result has the bytes of a run beside the server.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { createKubernetesRunner } from '../../src/cluster/kubernetes-runner.ts';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { readTrainingOrigin } from '../../src/contracts/training-origin.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import { RunArchive } from '../../src/jobs/run-archive.ts';
import { type JobRunner, type RunEnd, type RunRequest, RunStop } from '../../src/jobs/runner.ts';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import { JOB_CLUSTERS, type JobCluster } from './kubernetes/job-cluster.ts';
import { writeRows } from './rows.ts';

const TOY = path.resolve('models/toy');
const log = { info() {}, warn() {}, error() {} };

async function startRunner(t: TestContext, start: (t: TestContext) => Promise<JobCluster>) {
  const cluster = await start(t);
  const store = guardStore(cluster.store, log);
  const api = new ApiClient(cluster.access, { firstPauseMs: 1 });
  t.after(() => api.close());
  const { info, tensors } = readArtifact(TOY);
  tensors.close();
  const runner = createKubernetesRunner({
    store,
    api,
    planner: createChildRunner({ log }),
    template: cluster.template,
    queue: 'training',
    baseDigest: info.digest,
    log,
    pollMs: 20,
    lookMs: 100,
  });
  return { cluster, runner, archive: new RunArchive(store, 'local/.jobs/ftjob-1/run/') };
}

let tokens = 0;

function workOf(t: TestContext, job: object = {}): RunRequest {
  const dir = temporaryFolder(t);
  const settings = { rank: 4, batchSize: 4, learningRate: 1e-2, epochs: 6, checkpointEvery: 5 };
  const validation = { data: writeRows(dir), validation: writeRows(temporaryFolder(t)) };
  return {
    jobId: 'ftjob-1',
    tenant: 'local',
    fencingToken: ++tokens,
    runDir: path.join(dir, 'run'),
    gate: { margin: 0, maxForgetting: 100 },
    job: { model: TOY, seed: 3, threads: 1, ...validation, ...settings, ...job },
    isResume: false,
  };
}

interface Told {
  readonly end: RunEnd;
  readonly messages: TrainerMessage[];
  readonly adapter: Buffer | undefined;
  /** The SHA-256 of the training file, as the adapter's origin has it. */
  readonly trainedOn: string | undefined;
}

async function run(
  runner: JobRunner,
  work: RunRequest,
  handle: (message: TrainerMessage, stop: RunStop) => void | Promise<void> = () => {},
): Promise<Told> {
  const messages: TrainerMessage[] = [];
  let adapter: Buffer | undefined;
  let trainedOn: string | undefined;
  const stop = new RunStop();
  for await (const message of runner.run(work, stop.signals)) {
    if (message.type === 'end') {
      return { end: message.end, messages, adapter, trainedOn };
    }
    messages.push(message);
    if (message.type === 'trained') {
      adapter = readFileSync(path.join(message.directory, 'adapter_model.safetensors'));
      trainedOn = (await readTrainingOrigin(message.directory))!.data.sha256;
    }
    await handle(message, stop);
  }
  return assert.fail('every run has an end');
}

const stepsOf = (messages: readonly TrainerMessage[]) =>
  messages.flatMap((told) => (told.type === 'step' ? told.step : []));

for (const [name, { start, prepare }] of Object.entries(JOB_CLUSTERS)) {
  const test = testUnless(await prepare());

  test(`${name}: a pod’s adapter has the bytes of a run beside the server, and all is told`, async (t) => {
    const { runner } = await startRunner(t, start);
    const far = await run(runner, workOf(t));
    const near = await run(createChildRunner({ log }), workOf(t));
    assert.deepEqual(far.end, near.end, JSON.stringify(far.messages.at(-1)));
    assert.equal(far.end.kind, 'succeeded');
    assert.ok(far.adapter?.equals(near.adapter!));
    assert.equal(far.trainedOn, near.trainedOn);
    assert.deepEqual(stepsOf(far.messages), stepsOf(near.messages));
    const kinds = (told: Told) =>
      new Set(told.messages.map(({ type }) => type).filter((type) => type !== 'note'));
    kinds(near).delete('result');
    for (const kind of ['step', 'event', 'snapshot', 'card', 'trained'] as const) {
      assert.ok(kinds(far).has(kind), kind);
    }
  });

  test(`${name}: pods that are preempted, killed and paused leave the bytes as they are`, async (t) => {
    const { cluster, runner, archive } = await startRunner(t, start);
    const call = { signal: new AbortController().signal };
    const near = await run(createChildRunner({ log }), workOf(t));
    let work = workOf(t);
    const isCheckpoint = (message: TrainerMessage) =>
      message.type === 'event' && message.code === 'checkpoint';
    // As the service does: each checkpoint goes into the job's own archive.
    const killed = await run(runner, work, async (message) => {
      if (!isCheckpoint(message)) return;
      await archive.save(work.runDir, call);
      cluster.killPod();
    });
    assert.equal(killed.end.kind, 'lost');
    assert.match(JSON.stringify(killed.end), /out_of_memory/);

    work = { ...work, fencingToken: ++tokens, isResume: true };
    let isPreempted = false;
    const paused = await run(runner, work, async (message, stop) => {
      if (message.type === 'event' && message.code === 'resumed' && !isPreempted) {
        isPreempted = true;
        void cluster.preempt().then(() => cluster.admit());
      } else if (message.type === 'event' && message.code === 'resumed') stop.request('pause');
      if (isCheckpoint(message)) await archive.save(work.runDir, call);
    });
    assert.equal(paused.end.kind, 'paused');

    work = { ...work, fencingToken: ++tokens };
    const done = await run(runner, work);
    assert.equal(done.end.kind, 'succeeded', JSON.stringify(done.end));
    assert.ok(done.adapter?.equals(near.adapter!));
    assert.equal(done.trainedOn, near.trainedOn);
  });

  test(`${name}: a job that is at fault fails with the trainer’s own words`, async (t) => {
    const { runner } = await startRunner(t, start);
    const far = await run(runner, workOf(t, { rank: 0 }));
    const near = await run(createChildRunner({ log }), workOf(t, { rank: 0 }));
    assert.equal(far.end.kind, 'failed');
    assert.deepEqual(far.end, near.end);
  });
}
