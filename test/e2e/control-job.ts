// Controls a running job with OpenAI's official client: pauses and resumes it, cancels another one, and reads events,
// checkpoints and files. `control_job.py` is the same in Python.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import OpenAI, { BadRequestError } from 'openai';
import { until } from '../until.ts';

/** The observed states of the job and of the cancelled one. */
export interface Controlled {
  readonly job: string;
  readonly cancelled: string;
  readonly paused: string;
  readonly resumed: string;
  readonly ended: string;
  readonly model: string;
  readonly trained_tokens: number;
  /** Code of the answer to a pause after the end. */
  readonly refusal: string;
  /** The newest first. */
  readonly messages: readonly string[];
  readonly steps: readonly number[];
  readonly checkpoints: readonly { readonly model: string; readonly step: number }[];
  /** The result file. */
  readonly table: string;
  readonly models: readonly string[];
  readonly deleted: boolean;
}

/** The test that runs this has a limit of its own. */
const WAITING = { pollMs: 300, deadlineMs: 3_600_000 };

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** @param trainingFile of the job that is cancelled */
export async function controlJob(baseURL: string, trainingFile: string): Promise<Controlled> {
  const client = new OpenAI({ baseURL, apiKey: 'none' });
  const { jobs } = client.fineTuning;
  const events = (id: string) => all(jobs.listEvents(id, { limit: 100 }));
  const stepsOf = async (id: string) =>
    (await events(id))
      .filter(({ type }) => type === 'metrics')
      .map(({ data }) => (data as { step: number }).step);

  const { id } = await until(
    'the job',
    async () => (await jobs.list({ limit: 1 })).data[0],
    WAITING,
  );
  await until('three steps', async () => (await stepsOf(id)).length >= 3, WAITING);
  const file = createReadStream(trainingFile);
  const training = await client.files.create({ file, purpose: 'fine-tune' });
  await client.files.waitForProcessing(training.id);
  const metadata = { part: 'cancelled' };
  const other = await jobs.create({ model: 'base', training_file: training.id, metadata });
  const cancelled = await jobs.cancel(other.id);
  const paused = await jobs.pause(id);
  const becomes = (...wanted: readonly string[]) =>
    until(
      wanted.join(' or '),
      async () => wanted.includes((await jobs.retrieve(id)).status),
      WAITING,
    );
  await becomes('paused');
  const resumed = await jobs.resume(id);
  await becomes('succeeded', 'failed');
  const ended = await jobs.retrieve(id);
  const refusal = await jobs.pause(id).catch((error: unknown) => error);
  assert.ok(refusal instanceof BadRequestError);
  const checkpoints = await all(jobs.checkpoints.list(id));
  return {
    job: id,
    cancelled: cancelled.status,
    paused: paused.status,
    resumed: resumed.status,
    ended: ended.status,
    model: ended.fine_tuned_model!,
    trained_tokens: ended.trained_tokens!,
    refusal: refusal.code!,
    messages: (await all(jobs.listEvents(id))).map(({ message }) => message),
    steps: (await stepsOf(id)).sort((a, b) => a - b),
    checkpoints: checkpoints.map((each) => ({
      model: each.fine_tuned_model_checkpoint,
      step: each.step_number,
    })),
    table: await (await client.files.content(ended.result_files[0]!)).text(),
    models: (await all(client.models.list())).map((model) => model.id),
    deleted: (await client.files.delete(training.id)).deleted,
  };
}
