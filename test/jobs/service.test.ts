// A job from its creation to its end on one server: its events, versions and remains, and the actions of its owner.
// Processes, store and files are real; the trainer is simulated.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { keys } from '../../adapters/repository/manifest.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { readBody } from '../../adapters/store/documents.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../../src/common/errors.ts';
import { createLog, type Logger } from '../../src/common/log.ts';
import { shortId } from '../../src/jobs/names.ts';
import type { JobRunner } from '../../src/jobs/runner.ts';
import { sampleFolder } from '../adapters/published.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { until } from '../until.ts';
import {
  ACME,
  gates,
  openServer,
  request,
  simulatedRunner,
  startServer,
  upload,
} from './simulated.ts';

async function keysOf(store: ObjectStore, part: string): Promise<string[]> {
  return (await listKeys(store)).filter((key) => key.includes(part));
}

describe('a job', () => {
  test('goes from its files to a published adapter, in OpenAI’s words', async () => {
    const store = createMemoryStore();
    const server = startServer(store);
    const validationFile = await upload(server.files, {});
    const made = await server.create({ steps: 4, perEpoch: 2 }, { validationFile });
    const job = await server.until(made, 'succeeded');
    const model = `ft:toy:acme:colours:${shortId(job.id)}`;
    const { trainingFile } = job.request;
    assert.deepEqual(await server.messages(job), [
      `Created fine-tuning job: ${job.id}`,
      `Validating training file: ${trainingFile} and validation file: ${validationFile}`,
      'Files validated, moving job to queued state',
      'Fine-tuning job started',
      'Step 1/4: training loss=4.00',
      'Step 2/4: training loss=2.00',
      `Checkpoint created at step 2 with Snapshot ID: ${model}:ckpt-step-2`,
      'Step 3/4: training loss=1.33',
      'Step 4/4: training loss=1.00',
      `Checkpoint created at step 4 with Snapshot ID: ${model}:ckpt-step-4`,
      `New fine-tuned model created: ${model}`,
      'The job has successfully completed',
    ]);
    assert.equal(job.result?.trainedTokens, 160);
    assert.ok(job.finishedMs! >= job.createdMs);
    const aliases = await createRepository(store).readAliases('acme', 'colours');
    assert.deepEqual(aliases?.aliases.aliases, {
      latest: { version: 3 },
      [shortId(job.id)]: { version: 3 },
      [`${shortId(job.id)}.ckpt-step-2`]: { version: 1 },
      [`${shortId(job.id)}.ckpt-step-4`]: { version: 2 },
    });
    const [fileId] = job.result!.resultFiles;
    const meta = await server.files.get('acme', fileId!);
    assert.equal(meta.purpose, 'fine-tune-results');
    assert.equal(meta.filename, 'step_metrics.csv');
    const { body } = await server.files.open('acme', fileId!);
    const text = Buffer.from((await readBody(body, 1000))!).toString();
    assert.match(text, /^step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n/);
    assert.ok(server.published.every((name) => name === 'acme/colours'));
  });

  test('succeeds without a table of its steps', async () => {
    const server = startServer(createMemoryStore());
    const job = await server.until(await server.create({ tableless: true }), 'succeeded');
    assert.deepEqual(job.result?.resultFiles, []);
  });

  test('leaves nothing but its record, its files and its versions', async () => {
    const store = createMemoryStore();
    const server = startServer(store);
    const job = await server.until(await server.create(), 'succeeded');
    await until('the mark to go', async () => (await keysOf(store, '.active-jobs')).length === 0);
    assert.deepEqual(await keysOf(store, '/run/'), []);
    await until('the folder to go', async () => readdirSync(server.root).length === 0);
    assert.equal((await server.get(job)).status, 'succeeded');
  });
});

describe('a job with a fault', () => {
  test('keeps its three newest checkpoints callable, and the version before it served', async () => {
    const store = createMemoryStore();
    const server = startServer(store);
    await server.until(await server.create(), 'succeeded');
    const fault = { code: 'gate_failed', message: 'forgetting: 2.10 > 1.50', param: null };
    const card = { gates: [{ gate: 'forgetting', passed: false, value: 2.1, limit: 1.5 }] };
    const told = { steps: 5, perEpoch: 1, fault, card };
    const job = await server.until(await server.create(told), 'failed');
    assert.deepEqual(job.error, fault);
    assert.deepEqual(job.card, { skipped: [], ...card });
    assert.equal((await server.messages(job)).at(-1), fault.message);
    const found = await createRepository(store).readAliases('acme', 'colours');
    const { latest, ...others } = found!.aliases.aliases;
    assert.deepEqual(latest, { version: 3 });
    const mine = Object.keys(others).filter((alias) => alias.startsWith(shortId(job.id)));
    const aliases = [3, 4, 5].map((step) => `${shortId(job.id)}.ckpt-step-${step}`);
    assert.deepEqual(mine.sort(), aliases);
    const versions = await createRepository(store).listVersions('acme', 'colours');
    assert.deepEqual(pluck(versions, 'version'), [1, 2, 3, 6, 7, 8]);
  });

  test('whose files are refused fails with the field, the code and the lines', async () => {
    const refusal = {
      code: 'invalid_training_file',
      message: 'line 3: role is unknown',
      param: 'training_file',
      lines: [3],
    };
    const server = startServer(createMemoryStore());
    const job = await server.until(await server.create({ refusal }), 'failed');
    const { lines: _lines, ...error } = refusal;
    assert.deepEqual(job.error, error);
    assert.deepEqual(job.recentEvents.at(-1)!.data, { code: refusal.code, lines: [3] });
    assert.equal((await server.messages(job)).includes('Fine-tuning job started'), false);
  });

  test('whose file was deleted before it began fails with its name', async () => {
    const server = openServer();
    const job = await server.create();
    await server.files.remove('acme', job.request.trainingFile);
    server.worker.start();
    const { error } = await server.until(job, 'failed');
    assert.equal(error?.code, 'invalid_training_file');
    assert.equal(error?.param, 'training_file');
  });

  test('whose trainer dies continues from its checkpoint to the same bytes', async () => {
    const server = startServer(createMemoryStore());
    const told = { steps: 8, perEpoch: 2 };
    const whole = await server.until(await server.create(told), 'succeeded');
    const cut = await server.create({ ...told, dieAfter: [3, 5, 8], wordless: true });
    const job = await server.until(cut, 'succeeded');
    assert.equal(job.result!.digest, whole.result!.digest);
    const messages = await server.messages(job);
    const steps = messages.flatMap((text) => /^Step (\d+)\/8/.exec(text)?.[1] ?? []);
    assert.deepEqual(steps, ['1', '2', '3', '4', '5', '6', '7', '8']);
    const interruptions = messages.filter((text) => text.startsWith('The job was interrupted'));
    assert.deepEqual(
      interruptions.map((text) => /interrupted (.*?):/.exec(text)?.[1]),
      ['while its files were read', 'after step 3', 'after step 5', 'after step 8'],
    );
    assert.ok(messages.includes('Resumed after step 2'));
  });

  test('that learns from rewards publishes each of the best checkpoints once, even if its trainer dies', async () => {
    const server = startServer(createMemoryStore());
    const rewards = [0.5, 0.1, 0.9, 0.4, 0.2, 0.6];
    const told = { steps: 6, perEpoch: 1, rewards, dieAfter: [4, 6] };
    const job = await server.until(await server.create(told), 'succeeded');
    const messages = await server.messages(job);
    const made = messages.flatMap(
      (text) => /^Checkpoint created at step (\d)/.exec(text)?.[1] ?? [],
    );
    assert.deepEqual(made, ['1', '2', '3', '4', '6']);
    const kept = job.checkpoints.map(({ step, digest }) => [step, digest === job.result!.digest]);
    assert.deepEqual(kept, [
      [1, false],
      [3, true],
      [6, false],
    ]);
    assert.deepEqual(job.progress?.best, { step: 3, validationLoss: -0.9 });
  });

  test('whose trainer dies at the same step again and again fails with a reason', async () => {
    const server = startServer(createMemoryStore());
    const job = await server.until(await server.create({ steps: 4, diesBefore: 3 }), 'failed');
    const { error } = job;
    assert.equal(error?.code, 'trainer_lost');
    assert.match(error!.message, /was killed \(SIGKILL\)/);
    const tries = (await server.messages(job)).flatMap((text) => /try (\d)/.exec(text)?.[1] ?? []);
    assert.deepEqual(tries, ['1', '2', '3']);
    assert.deepEqual(pluck(job.checkpoints, 'step'), [2]);
  });
});

describe('its owner', () => {
  test('pauses and resumes a job, which ends with the same bytes', async () => {
    const server = startServer(createMemoryStore());
    const told = { steps: 6, perEpoch: 3 };
    const whole = await server.until(await server.create(told), 'succeeded');
    const { folder, open } = gates();
    const made = await server.create({ ...told, gates: folder });
    open(1, 2);
    await until('step 2', async () => (await server.get(made)).progress?.step === 2);
    const paused = await server.service.act('acme', made.id, 'pause');
    assert.equal(paused.status, 'paused');
    await until('the trainer to rest', async () => (await server.get(made)).lease === undefined);
    assert.equal(server.worker.activeCount, 0);
    open(3, 4, 5, 6);
    assert.equal((await server.get(made)).status, 'paused');
    assert.equal((await server.service.act('acme', made.id, 'resume')).status, 'queued');
    const job = await server.until(made, 'succeeded');
    assert.equal(job.result!.digest, whole.result!.digest);
    const messages = await server.messages(job);
    assert.ok(messages.includes('Resumed after step 2'));
    assert.equal(messages.filter((text) => text === 'Fine-tuning job started').length, 1);
    assert.equal(messages.filter((text) => text.startsWith('Step ')).length, 6);
  });

  test('resumes before the trainer has paused, and nothing is lost', async () => {
    const server = startServer(createMemoryStore());
    const { folder, open } = gates();
    const made = await server.create({ steps: 3, gates: folder });
    open(1);
    await until('step 1', async () => (await server.get(made)).progress);
    await server.service.act('acme', made.id, 'pause');
    await server.service.act('acme', made.id, 'resume');
    open(2, 3);
    const job = await server.until(made, 'succeeded');
    const steps = (await server.messages(job)).filter((text) => text.startsWith('Step '));
    assert.equal(steps.length, 3);
  });

  for (const stage of ['validating_files', 'queued', 'running', 'paused'] as const) {
    test(`cancels a job that is ${stage}`, async () => {
      const store = createMemoryStore();
      const server = openServer(store, stage === 'queued' ? { limits: { maxTraining: 1 } } : {});
      const blocker = gates();
      if (stage !== 'validating_files') server.worker.start();
      if (stage === 'queued') await server.create({ gates: blocker.folder });
      const made = await server.create({ gates: gates().folder });
      await server.until(made, stage === 'paused' ? 'running' : stage);
      if (stage === 'paused') await server.service.act('acme', made.id, 'pause');
      const job = await server.service.act('acme', made.id, 'cancel');
      assert.equal(job.status, 'cancelled');
      assert.ok(job.finishedMs);
      server.worker.start();
      await until('its end here', async () => {
        const ids = await keysOf(store, `.active-jobs/${made.id}`);
        return ids.length === 0;
      });
      assert.equal((await server.get(made)).status, 'cancelled');
      assert.equal((await server.messages(made)).at(-1), 'Fine-tuning job cancelled');
      assert.deepEqual(await keysOf(store, '/run/'), []);
      assert.equal(existsSync(`${server.root}/${made.id}.acme`), false);
      await assert.rejects(server.service.act('acme', made.id, 'resume'), ServeError);
    });
  }

  test('has no more unfinished jobs than the limit', async () => {
    const server = openServer(createMemoryStore(), { limits: { maxActive: 2 } });
    const results = await Promise.allSettled([server.create(), server.create(), server.create()]);
    const statuses = results.map(({ status }) => status);
    assert.deepEqual(statuses, ['fulfilled', 'fulfilled', 'rejected']);
    const [first] = (await server.service.list('acme', { limit: 1 })).items;
    await assert.rejects(server.create(), {
      status: 429,
      retryAfterS: 60,
      message: /2 unfinished jobs/,
    });
    const rival = { ...ACME, id: 'rival' };
    const trainingFile = await upload(server.files, {}, 'rival');
    await server.service.create(rival, request(trainingFile));
    await server.service.act('acme', first!.id, 'cancel');
    server.worker.start();
    await until('room', () => server.create().catch(() => undefined));
  });
});

describe('jobs of several tenants', () => {
  test('take turns on a server that trains one at a time', async () => {
    const server = openServer();
    const trained: string[] = [];
    const made: string[] = [];
    for (const tenant of ['acme', 'acme', 'acme', 'rival']) {
      const trainingFile = await upload(server.files, { steps: 1 }, tenant);
      const job = await server.service.create({ ...ACME, id: tenant }, request(trainingFile));
      made.push(`${tenant}/${job.id}`);
    }
    server.worker.start();
    await until('all to be over', async () => {
      const jobs = await Promise.all(
        made.map(async (name) => {
          const [tenant, id] = name.split('/') as [string, string];
          return server.service.get(tenant, id);
        }),
      );
      if (jobs.some(({ status }) => status !== 'succeeded')) return undefined;
      const order = jobs.toSorted((a, b) => a.finishedMs! - b.finishedMs!);
      trained.push(...order.map(({ tenant }) => tenant));
      return true;
    });
    assert.ok(trained.indexOf('rival') < 3, trained.join());
  });
});

test('a server collects what removed versions have left, a day later', async () => {
  const store = createMemoryStore();
  const repository = createRepository(store);
  const name = { tenant: ACME.id, name: 'old' };
  for (const revision of ['1', '2']) {
    await repository.publish(name, { directory: sampleFolder({ revision }) });
  }
  await repository.removeVersion(name, 1);
  const filesOf = async (version: number) => {
    const key = keys.versionFile({ ...name, version }, 'adapter_model.safetensors');
    return (await store.head(key)) ? 1 : 0;
  };
  assert.deepEqual([await filesOf(1), await filesOf(2)], [1, 1]);
  const DAY_MS = 24 * 3_600_000;
  startServer(store, { repository, now: () => Date.now() + DAY_MS + 1000, collectsGarbage: true });
  await until('the files of the removed version to go', async () => (await filesOf(1)) === 0);
  assert.equal(await filesOf(2), 1);
});

test('uploads at the same moment do not share the room for one of them', async () => {
  const byteSize = 1000;
  const limits = { maxFiles: 10, maxFilesBytes: 2500 };
  const { files } = openServer(createMemoryStore(), { limits });
  const create = () =>
    files.create(ACME.id, {
      source: new Uint8Array(byteSize),
      ...{ byteSize, filename: 'rows.jsonl', purpose: 'fine-tune' },
    });
  const results = await Promise.allSettled([create(), create(), create()]);
  const outcomes = results.map(({ status }) => status);
  assert.deepEqual(outcomes, ['fulfilled', 'fulfilled', 'rejected']);
  await assert.rejects(create(), { param: 'file', message: /use 2\d+ bytes of 2500 bytes/ });
});

test('a damaged job of one tenant does not stop those of others, and is logged once', async () => {
  const store = createMemoryStore();
  const id = 'ftjob-0190c0ffee00aabbccddeef0';
  await store.put(`.active-jobs/${id}.rival`, new Uint8Array());
  await store.put(`rival/.jobs/${id}/job.json`, Buffer.from('{"schema":1}'));
  const logged: { job: string }[] = [];
  const error = (fields: { job: string }) => void logged.push(fields);
  const server = startServer(store, { log: { ...createLog('silent'), error } as Logger });
  await server.until(await server.create({ steps: 2 }), 'succeeded');
  await server.until(await server.create({ steps: 2 }), 'succeeded');
  assert.deepEqual(pluck(logged, 'job'), [id]);
  assert.deepEqual((await server.service.list('rival', { limit: 10 })).items, []);
});

test('I19: the rows of a dry run lie in a folder that no other process uses, and go with it', async () => {
  const dryRunRoot = temporaryFolder();
  let folder = '';
  const runner: JobRunner = {
    ...simulatedRunner(),
    async plan(request, options) {
      const rows = String(request.job['data']);
      assert.ok(existsSync(rows));
      folder = path.dirname(rows);
      return simulatedRunner().plan(request, options);
    },
  };
  const server = openServer(createMemoryStore(), { runner, dryRunRoot });
  const { request, tenant } = await server.create({ steps: 2 });
  await server.dryRuns.plan({ request, tenant }, new AbortController().signal);
  assert.equal(path.dirname(folder), dryRunRoot);
  assert.ok(!existsSync(folder));
});
