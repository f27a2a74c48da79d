// Fine-tuning jobs over three servers on one bucket, whoever works on them being killed: each job is there once, succeeds
// once, and ends with the bytes of a run that nothing happened to.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { pluck } from '../pluck.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { skipWithoutBalancer } from './balancer.ts';
import { type Fleet, startFleet } from './fleet.ts';
import { prepareS3Server, startS3Server } from './s3-server.ts';

const skip =
  process.platform !== 'linux'
    ? 'finds trainers by /proc'
    : skipUnlessLong || skipWithoutBalancer() || (await prepareS3Server());
const test = testUnless(skip);
const server = skip ? undefined : await startS3Server({ after });
const REPLICAS = 3;
const ARGS = ['--model', 'models/toy', '--slots', '4'];
const ROWS = 40;
const EPOCHS = 5;
const BATCH = 4;
const STEPS = (ROWS / BATCH) * EPOCHS;
/** Who is killed may tell its successor, or leave it to find out. */
const SIGNALS = ['SIGTERM', 'SIGKILL', 'SIGTERM', 'SIGTERM'] as const;
/** Between two kills, more than a checkpoint's distance apart at times and less at others. */
const STEPS_APART = 9;

const rows = Array.from({ length: ROWS }, (_, i) =>
  JSON.stringify({ prompt: `Number ${i} is`, completion: ` ${i % 2 ? 'odd' : 'even'}.` }),
).join('\n');

test('a job whose servers are killed one after the other is made once, trained once and ends with the same bytes', async (t) => {
  assert(server);
  const fleet = await startFleet(t, server, { count: REPLICAS, prefix: 'jobs', args: ARGS });
  const client = new OpenAI({ baseURL: `${fleet.url}/v1`, apiKey: 'none', maxRetries: 10 });
  const file = await client.files.create({
    file: await toFile(Buffer.from(rows), 'rows.jsonl'),
    purpose: 'fine-tune',
  });
  const create = (suffix: string) =>
    client.fineTuning.jobs.create(
      {
        model: 'base',
        training_file: file.id,
        suffix,
        seed: 7,
        hyperparameters: { n_epochs: EPOCHS, batch_size: BATCH },
      },
      { headers: { 'idempotency-key': suffix } },
    );
  const calm = await create('calm');
  assert.equal((await ended(client, calm.id)).status, 'succeeded');

  // Repeated at once and by whichever server it reaches: one job.
  const created = await Promise.all(Array.from({ length: 6 }, () => create('stormy')));
  assert.equal(new Set(created.map(({ id }) => id)).size, 1);
  const { id } = created[0]!;
  const signals = await killWhoeverTrains(fleet, client, id);
  t.diagnostic(`killed by ${signals.join(', ')}`);
  const job = await ended(client, id);
  assert.equal(job.status, 'succeeded', job.error?.message);

  const steps = await stepsOf(client, id);
  assert.deepEqual(
    steps,
    Array.from({ length: STEPS }, (_, i) => i + 1),
  );
  const [stormy, reference] = await Promise.all(
    ['stormy', 'calm'].map((name) => fleet.repository.listVersions('local', name)),
  );
  // The result and its epochs' snapshots, each published once.
  assert.deepEqual(
    pluck(stormy!, 'digest'),
    reference!.map(({ digest }) => digest),
  );

  const answers = await Promise.all(
    Array.from({ length: REPLICAS }, (_, i) => say(fleet.urlOf(i), job.fine_tuned_model!)),
  );
  assert.equal(new Set(answers).size, 1);
  const { data } = await client.fineTuning.jobs.list();
  assert.equal(data.length, 2);
});

/** Each time it has told more steps; the server comes back by itself. */
async function killWhoeverTrains(fleet: Fleet, client: OpenAI, id: string): Promise<string[]> {
  const signals: string[] = [];
  const starting: Promise<void>[] = [];
  let told = 0;
  while (signals.length < SIGNALS.length) {
    const count = (await stepsOf(client, id)).length;
    assert.ok(count < STEPS, `it is over after ${signals.length} kills`);
    const replica = await fleet.findProcess('trainer/main');
    if (count < told + STEPS_APART || replica === -1) {
      await delay(50);
      continue;
    }
    told = count;
    const signal = SIGNALS[signals.length]!;
    await fleet.end(replica, signal);
    starting.push(fleet.start(replica));
    signals.push(`${signal} at step ${count}`);
  }
  await Promise.all(starting);
  return signals;
}

async function ended(client: OpenAI, id: string): Promise<OpenAI.FineTuning.FineTuningJob> {
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (['succeeded', 'failed', 'cancelled'].includes(job.status)) return job;
    await delay(200);
  }
}

/** The steps that its events tell, in order. */
async function stepsOf(client: OpenAI, id: string): Promise<number[]> {
  const steps: number[] = [];
  for await (const { type, data } of client.fineTuning.jobs.listEvents(id, { limit: 100 })) {
    if (type === 'metrics') steps.push((data as { step: number }).step);
  }
  return steps.sort((a, b) => a - b);
}

async function say(url: string, model: string): Promise<string> {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none' });
  const { choices } = await client.completions.create({
    ...{ model, prompt: 'Number 3 is', max_tokens: 4, temperature: 0 },
  });
  return choices[0]!.text;
}
