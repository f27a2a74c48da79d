// The fine-tuning API through OpenAI's own client: shapes, pages and texts. Store, worker and processes are real. The trainer
// is simulated, and the engine says which adapter it was given.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import {
  type FineTuningJobSamples,
  fineTuningCheckpointListSchema,
  fineTuningEventListSchema,
  fineTuningJobSchema,
} from '../../src/contracts/fine-tuning-api.ts';
import { gates, type Told, toldPairs, toldPrompts, toldRows } from '../jobs/simulated.ts';
import { pluck } from '../pluck.ts';
import { until } from '../until.ts';
import { connect } from './openai-client.ts';
import { BASE_ALIAS, sayingOf } from './published.ts';
import { type ServedJobs, type ServedJobsOptions, serveJobs } from './with-jobs.ts';

async function listen(options: ServedJobsOptions = {}) {
  const served = serveJobs(options);
  const client = await connect(served);
  const { jobs } = client.fineTuning;
  const upload = async (told: Told = {}, rowsOf = toldRows) =>
    (
      await client.files.create({
        file: await toFile(rowsOf(told), 'rows.jsonl'),
        purpose: 'fine-tune',
      })
    ).id;
  const ended = (id: string, status = 'succeeded') =>
    until(`${id} to be ${status}`, async () => {
      const job = await jobs.retrieve(id);
      return (job.status as string) === status ? job : undefined;
    });
  const say = (model: string, max_tokens = 2) =>
    client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'Hello' }],
      max_tokens,
    });
  return { ...served, client, api: jobs, upload, ended, say };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What the engine says for the adapter that this model name leads to. */
async function sayingFor(
  { repository }: Pick<ServedJobs, 'repository'>,
  alias: string,
): Promise<string> {
  const found = await repository.readAliases('local', 'colours');
  const pointer = found?.aliases.aliases[alias] as { version: number };
  const manifest = await repository.readManifest('local', 'colours', pointer.version);
  return sayingOf('local', manifest!.digest);
}

type Jobs = OpenAI['fineTuning']['jobs'];

async function checkEvents(api: Jobs, id: string): Promise<void> {
  const events = await collect(api.listEvents(id, { limit: 3 }));
  assert.equal(events[0]!.message, 'The job has successfully completed');
  assert.equal(events.at(-1)!.message, `Created fine-tuning job: ${id}`);
  assert.equal(new Set(events.map((event) => event.id)).size, events.length);
  const metrics = events.filter(({ type }) => type === 'metrics').reverse();
  assert.deepEqual(metrics[1], {
    object: 'fine_tuning.job.event',
    id: metrics[1]!.id,
    created_at: metrics[1]!.created_at,
    level: 'info',
    message: 'Step 2/4: training loss=2.00',
    type: 'metrics',
    data: {
      step: 2,
      total_steps: 4,
      train_loss: 2,
      train_mean_token_accuracy: 0.5,
      learning_rate: 0.001,
      tokens_per_second: 100,
    },
  });
}

async function checkCheckpoints(
  api: Jobs,
  { id, fine_tuned_model: model }: OpenAI.FineTuning.FineTuningJob,
) {
  const checkpoints = await collect(api.checkpoints.list(id, { limit: 1 }));
  assert.deepEqual(
    checkpoints.map((one) => [one.step_number, one.fine_tuned_model_checkpoint]),
    [
      [4, model], // the last one is the result
      [2, `${model}:ckpt-step-2`],
    ],
  );
  assert.deepEqual(checkpoints[1], {
    object: 'fine_tuning.job.checkpoint',
    id: checkpoints[1]!.id,
    created_at: checkpoints[1]!.created_at,
    fine_tuned_model_checkpoint: `${model}:ckpt-step-2`,
    fine_tuning_job_id: id,
    step_number: 2,
    metrics: { step: 2, train_loss: 2, train_mean_token_accuracy: 0.5 },
  });
}

test('the official client trains a model and talks with it', async () => {
  const served = await listen();
  const { client, api, upload, ended, jobs, say } = served;
  jobs.worker.start();
  const training_file = await upload({ steps: 4, perEpoch: 2 });
  const validation_file = await upload();
  const made = await api.create({
    model: 'toy',
    training_file,
    validation_file,
    suffix: 'Colours',
    seed: 42,
    metadata: { team: 'paint' },
    method: {
      type: 'supervised',
      supervised: { hyperparameters: { n_epochs: 2, batch_size: 'auto' } },
    },
  });
  assert.match(made.id, /^ftjob-[0-9a-f]{24}$/);
  const asked = { n_epochs: 2, batch_size: 'auto', learning_rate_multiplier: 'auto' };
  assert.deepEqual(made, {
    id: made.id,
    object: 'fine_tuning.job',
    created_at: made.created_at,
    finished_at: null,
    estimated_finish: null,
    model: 'toy',
    fine_tuned_model: null,
    organization_id: 'local',
    status: 'validating_files',
    hyperparameters: asked,
    method: { type: 'supervised', supervised: { hyperparameters: asked } },
    training_file,
    validation_file,
    result_files: [],
    trained_tokens: null,
    seed: 42,
    error: null,
    integrations: [],
    metadata: { team: 'paint' },
    user_provided_suffix: 'Colours',
    lorikeet: { adapter: 'colours' },
  });
  const job = await ended(made.id);
  const id = made.id.slice('ftjob-'.length);
  const model = `ft:toy:local:colours:${id}`;
  assert.equal(job.fine_tuned_model, model);
  assert.equal(job.trained_tokens, 160);
  assert.ok(job.finished_at! >= job.created_at);
  const resolved = { n_epochs: 2, batch_size: 8, learning_rate_multiplier: 1 };
  assert.deepEqual(job.hyperparameters, resolved);
  assert.deepEqual(job.method?.supervised?.hyperparameters, resolved);

  await checkEvents(api, made.id);
  await checkCheckpoints(api, job);
  const table = await (await client.files.content(job.result_files[0]!)).text();
  assert.match(table, /^step,train_loss,/);
  const models = (await collect(client.models.list())).map((one) => one.id);
  assert.deepEqual(models, ['toy', 'colours', model]);
  assert.equal((await client.models.retrieve(model)).owned_by, 'local');
  for (const [name, alias] of [
    [model, id],
    [`${model}:ckpt-step-2`, `${id}.ckpt-step-2`],
    ['colours', 'latest'],
  ] as const) {
    const answer = await say(name, 64);
    assert.equal(answer.choices[0]!.message.content, await sayingFor(served, alias));
  }
});

const GRADER = {
  type: 'string_check',
  name: 'equal',
  operation: 'eq',
  input: '{{sample.output_text}}',
  reference: '{{item.wanted}}',
} as const;

const rewardData = (reward: number) => ({
  train_mean_reward: reward / 2,
  full_valid_mean_reward: reward,
  completion_tokens_mean: 5,
});

/** OpenAI's fields of a step whose validation has this mean reward. */
function gradingData(reward: number) {
  const judge = { name: 'judge', type: 'score_model', model: 'base' };
  const tokens = (prefix: string, samples: number) => ({
    [`${prefix}_prompt_tokens_mean`]: 40 / samples,
    [`${prefix}_prompt_tokens_count`]: 40,
    [`${prefix}_completion_tokens_mean`]: 8 / samples,
    [`${prefix}_completion_tokens_count`]: 8,
  });
  return {
    mean_unresponsive_rewards: 0,
    full_valid_mean_parse_error: 0,
    reasoning_tokens_mean: 0,
    valid_reasoning_tokens_mean: 0,
    model_graders_token_usage: {
      base: {
        ...{ train_prompt_tokens: 40, train_completion_tokens: 8, train_cached_tokens: 0 },
        ...{ eval_prompt_tokens: 40, eval_completion_tokens: 8, eval_cached_tokens: 0 },
      },
    },
    scores: {
      train_reward_mean: reward / 2,
      valid_reward_mean: reward,
      graders: [{ ...judge, train_reward_mean: reward, valid_reward_mean: reward }],
    },
    usage: {
      graders: [{ ...judge, ...tokens('train', 4), ...tokens('valid', 2) }],
      samples: {
        ...{ train_reasoning_tokens_mean: 0, train_reasoning_tokens_count: 0 },
        ...{ valid_reasoning_tokens_mean: 0, valid_reasoning_tokens_count: 0 },
      },
    },
    timing: {
      step: { sampling: 3, training: 4, eval: 1.5, full_iteration: 8.5 },
      graders: [{ ...judge, train_execution_latency_mean: 0.5, valid_execution_latency_mean: 0.5 }],
    },
  };
}

test('a job of rewards has its grader, OpenAI’s events, and the best three checkpoints', async () => {
  const { api, upload, ended, jobs } = await listen();
  jobs.worker.start();
  const rewards = [0.5, 0.1, 0.9, 0.4, 0.6];
  const plan = { stepsPerEpoch: 5, validationExamples: 7 };
  const told = { steps: 5, perEpoch: 1, rewards, plan };
  const training_file = await upload(told, toldPrompts);
  const validation_file = await upload(told, toldPrompts);
  const hyperparameters = { eval_samples: 4, compute_multiplier: 0.5 };
  const made = await api.create({
    ...{ model: 'toy', training_file, validation_file },
    method: { type: 'reinforcement', reinforcement: { grader: GRADER, hyperparameters } },
  });
  const asked = {
    ...{ n_epochs: 'auto', batch_size: 'auto', learning_rate_multiplier: 'auto' },
    ...{ eval_interval: 'auto', reasoning_effort: 'default', ...hyperparameters },
  };
  const methodWith = (shown: object) => ({
    type: 'reinforcement',
    reinforcement: { grader: GRADER, hyperparameters: shown },
  });
  assert.deepEqual(made.method, methodWith(asked));
  assert.deepEqual(made.hyperparameters, {});
  const job = await ended(made.id);
  const numbers = { n_epochs: 3, batch_size: 8, learning_rate_multiplier: 1, eval_interval: 5 };
  assert.deepEqual(job.method, methodWith({ ...asked, ...numbers }));
  const events = (await collect(api.listEvents(made.id))).reverse();
  const [first] = events.filter(({ type }) => type === 'metrics');
  assert.equal(
    first!.message,
    'Step 1/5 , train mean reward=0.25, full validation mean reward=0.50, full validation mean parse error=0.00',
  );
  const { errors, ...data } = first!.data as {
    errors: { graders: Record<string, number>[]; train_other_error_mean: number };
  };
  assert.equal(errors.train_other_error_mean, 0.5);
  const { train_model_grader_parse_error_mean: mean, ...others } = errors.graders[0]!;
  assert.equal(mean, 0.25);
  assert.equal(others['valid_model_grader_parse_error_count'], 1);
  assert.equal(others['valid_sample_parse_error_mean'], 0);
  const trl = {
    ...{ reward: 0.25, eval_reward: 0.5, 'completions/mean_length': 5 },
    ...{ 'profiling/sampling': 2, 'profiling/grading': 1, 'profiling/training': 4 },
  };
  const measured = { train_loss: 4, train_mean_token_accuracy: 0, ...rewardData(0.5), ...trl };
  assert.deepEqual(data, {
    ...{ step: 1, total_steps: 5, learning_rate: 0.001, tokens_per_second: 100 },
    ...{ ...measured, ...gradingData(0.5) },
  });
  const checkpoints = await collect(api.checkpoints.list(made.id));
  assert.deepEqual(pluck(checkpoints, 'step_number'), [5, 3, 1]);
  assert.deepEqual(checkpoints.at(-1)!.metrics, { step: 1, ...measured });
  assert.equal(checkpoints[1]!.fine_tuned_model_checkpoint, job.fine_tuned_model);
  // The schemas drop what they do not describe.
  assert.deepEqual(fineTuningJobSchema.parse(job), job);
  assert.deepEqual(fineTuningEventListSchema.shape.data.parse(events), events);
  assert.deepEqual(fineTuningCheckpointListSchema.shape.data.parse(checkpoints), checkpoints);
  const { lorikeet } = job as unknown as { lorikeet: Record<string, number> };
  assert.deepEqual([lorikeet['valid_reward'], lorikeet['kept_step']], [0.9, 3]);
});

test('a job with more prompts than OpenAI takes fails, even if its request did not count them all', async () => {
  const { api, upload, ended, jobs } = await listen();
  jobs.worker.start();
  const method = { type: 'reinforcement', reinforcement: { grader: GRADER } } as const;
  const create = async (plan: object, lorikeet = {}) => {
    const training_file = await upload({ plan }, toldPrompts);
    const { id } = await api.create({ model: 'toy', training_file, method, ...lorikeet });
    return id;
  };
  const split = { lorikeet: { validation_split: 0.1 } };
  for (const id of [
    await create({ examples: 50_001 }),
    await create({ examples: 45_000, validationExamples: 5_001 }, split),
  ]) {
    const { error } = await ended(id, 'failed');
    assert.deepEqual([error?.code, error?.param], ['invalid_n_examples', 'training_file']);
    assert.match(error!.message, /has 50001 example\(s\), but must have at most 50000 examples/);
  }
});

test('a job of pairs has the hyperparameters and the metrics of DPO', async () => {
  const { api, upload, ended, jobs } = await listen();
  jobs.worker.start();
  const training_file = await upload({ steps: 2, perEpoch: 1 }, toldPairs);
  const hyperparameters = { beta: 0.5, n_epochs: 'auto' as const };
  const body = { model: 'toy', training_file, lorikeet: { loss: 'ipo' } };
  const made = await api.create({ ...body, method: { type: 'dpo', dpo: { hyperparameters } } });
  assert.deepEqual(made.hyperparameters, {});
  const job = await ended(made.id);
  const resolved = { n_epochs: 3, batch_size: 8, learning_rate_multiplier: 1, beta: 0.5 };
  assert.deepEqual(job.method, { type: 'dpo', dpo: { hyperparameters: resolved } });
  const { lorikeet } = job as unknown as { lorikeet: { loss: string } };
  assert.equal(lorikeet.loss, 'ipo');
  const [, step] = (await collect(api.listEvents(made.id)))
    .filter(({ type }) => type === 'metrics')
    .reverse();
  assert.equal((step!.data as Record<string, number>)['rewards/margins'], 1);
  const [checkpoint] = await collect(api.checkpoints.list(made.id));
  assert.deepEqual(checkpoint!.metrics, {
    step: 2,
    train_loss: 2,
    train_mean_token_accuracy: 0.5,
    'rewards/margins': 1,
  });
  const auto = await api.create({ model: 'toy', training_file, method: { type: 'dpo' } });
  assert.equal(auto.method?.dpo?.hyperparameters?.beta, 'auto');
  assert.equal((await ended(auto.id)).method?.dpo?.hyperparameters?.beta, 0.1);
});

test('a file of pairs is only for DPO, and DPO is only for pairs', async () => {
  const { api, upload } = await listen();
  const refused = async (rowsOf: typeof toldRows, type: 'supervised' | 'dpo', message: RegExp) => {
    const training_file = await upload({}, rowsOf);
    await assert.rejects(api.create({ model: 'toy', training_file, method: { type } }), {
      code: 'invalid_training_file',
      param: 'training_file',
      message,
    });
  };
  await refused(toldPairs, 'supervised', /Line 1: preferred_output: is only for dpo/);
  await refused(toldRows, 'dpo', /Line 1: preferred_output: is missing/);
});

test('a deleted model answers under none of its names', async () => {
  const { client, api, upload, ended, jobs, say } = await listen();
  jobs.worker.start();
  const train = async () => {
    const training_file = await upload({ steps: 4, perEpoch: 2 });
    return ended((await api.create({ model: 'toy', training_file, suffix: 'codes' })).id);
  };
  const before = await train();
  const job = await train();
  const model = job.fine_tuned_model!;
  assert.deepEqual(await client.models.delete(model), {
    id: model,
    object: 'model',
    deleted: true,
  });
  const id = job.id.slice('ftjob-'.length);
  for (const name of [model, `${model}:ckpt-step-2`, `${model}:ckpt-step-4`, `codes:${id}`]) {
    await assert.rejects(say(name), OpenAI.NotFoundError, name);
  }
  const listed = (await collect(client.models.list())).map((one) => one.id);
  assert.deepEqual(listed, ['toy', 'codes', before.fine_tuned_model]);
  const { root } = (await client.models.retrieve('codes')) as unknown as { root: string };
  const kept = (await api.retrieve(before.id)) as unknown as { lorikeet: { version: number } };
  assert.equal(root, `codes@${kept.lorikeet.version}`, 'the name is the model before');
  await assert.rejects(client.models.delete(model), OpenAI.NotFoundError);
  await client.models.delete(before.fine_tuned_model!);
  await assert.rejects(say('codes'), OpenAI.NotFoundError);
  assert.equal((await api.retrieve(job.id)).fine_tuned_model, model, 'the job is still told of');
});

test('a model is named after the base as its job named it, and so is a model that continues it', async () => {
  const { api, upload, ended, jobs, say } = await listen();
  jobs.worker.start();
  const training_file = await upload();
  const train = async (model: string) =>
    ended((await api.create({ model, training_file, suffix: 'colours' })).id);
  const first = await train(BASE_ALIAS);
  const short = first.id.slice('ftjob-'.length);
  assert.equal(first.fine_tuned_model, `ft:${BASE_ALIAS}:local:colours:${short}`);
  const [checkpoint] = (await api.checkpoints.list(first.id)).data;
  assert.ok(checkpoint!.fine_tuned_model_checkpoint.startsWith(`ft:${BASE_ALIAS}:local:colours:`));
  const model = first.fine_tuned_model!;
  assert.equal((await say(model)).model, model);
  const next = await train(model);
  assert.match(next.fine_tuned_model!, new RegExp(`^ft:${BASE_ALIAS}:local:colours:`));
  for (const word of ['base', 'toy', 'colours']) {
    assert.match((await train(word)).fine_tuned_model!, /^ft:toy:local:colours:/, word);
  }
});

test('a checkpoint answers while its job trains on, and another job starts from it', async () => {
  const { api, upload, ended, jobs, say } = await listen();
  jobs.worker.start();
  const { folder, open } = gates();
  const file = await upload({ steps: 4, perEpoch: 2, gates: folder });
  const made = await api.create({ model: 'toy', training_file: file, suffix: 'colours' });
  open(1, 2);
  const [checkpoint] = await until('a checkpoint', async () => {
    const { data } = await api.checkpoints.list(made.id);
    return data.length > 0 ? data : undefined;
  });
  const model = checkpoint!.fine_tuned_model_checkpoint;
  assert.match(model, /:ckpt-step-2$/);
  assert.equal((await say(model)).model, model);
  assert.equal((await api.retrieve(made.id)).status, 'running');
  await assert.rejects(
    say('colours'),
    OpenAI.NotFoundError,
    'what is not ready is not the name’s latest',
  );
  const next = await api.create({ model, training_file: await upload({ steps: 1 }) });
  assert.equal(next.model, model);
  open(3, 4);
  await ended(made.id);
  const job = await ended(next.id);
  assert.equal(job.fine_tuned_model, `ft:toy:local::${next.id.slice('ftjob-'.length)}`);
});

test('pause, resume and cancel answer with the job, however often', async () => {
  const { api, upload, ended, jobs } = await listen();
  jobs.worker.start();
  const file = await upload({ steps: 9, gates: gates().folder });
  const { id } = await api.create({ model: 'toy', training_file: file });
  await ended(id, 'running');
  for (const _ of [1, 2]) assert.equal((await api.pause(id)).status as string, 'paused');
  for (const _ of [1, 2]) assert.match((await api.resume(id)).status, /^(queued|running)$/);
  for (const _ of [1, 2]) assert.equal((await api.cancel(id)).status, 'cancelled');
  await assert.rejects(api.resume(id), (error: InstanceType<typeof OpenAI.BadRequestError>) => {
    assert.equal(error.code, 'invalid_request');
    assert.match(error.message, /is cancelled, so it cannot resume/);
    return error instanceof OpenAI.BadRequestError;
  });
  const events = await collect(api.listEvents(id));
  const texts = events.map(({ message }) => message);
  assert.equal(texts.filter((text) => text === 'Fine-tuning job paused').length, 1);
  assert.equal(texts[0], 'Fine-tuning job cancelled');
});

describe('lists', () => {
  test('of jobs are paged newest first, and found by metadata', async () => {
    const { api, upload } = await listen();
    const training_file = await upload();
    const ids: string[] = [];
    for (const team of ['a', 'b', undefined, 'a']) {
      const metadata = team === undefined ? null : { team, kind: 'x y' };
      ids.unshift((await api.create({ model: 'toy', training_file, metadata })).id);
    }
    const found = async (query: OpenAI.FineTuning.JobListParams) =>
      (await collect(api.list(query))).map(({ id }) => id);
    assert.deepEqual(await found({ limit: 1 }), ids);
    assert.deepEqual(await found({ limit: 3 }), ids);
    assert.deepEqual(await found({ metadata: { team: 'a' } }), [ids[0], ids[3]]);
    assert.deepEqual(await found({ limit: 1, metadata: { kind: 'x y', team: 'b' } }), [ids[2]]);
    assert.deepEqual(await found({ metadata: { team: 'z' } }), []);
    assert.deepEqual(await found({ metadata: null }), [ids[1]]);
  });

  test('refuse invalid cursors and limits', async () => {
    const { app, api, upload } = await listen();
    const training_file = await upload();
    const { id } = await api.create({ model: 'toy', training_file });
    const other = await api.create({ model: 'toy', training_file });
    const [last] = (await api.listEvents(id)).data;
    const beyond = last!.id.replace(/\d{9}$/, '000000999');
    const ofOther = last!.id.replace(id.slice('ftjob-'.length), other.id.slice('ftjob-'.length));
    for (const [list, query, param] of [
      [`/${id}/events`, 'limit=0', 'limit'],
      [`/${id}/events`, 'limit=101', 'limit'],
      [`/${id}/events`, 'limit=x', 'limit'],
      [`/${id}/events`, 'after=nonsense', 'after'],
      [`/${id}/events`, `after=${beyond}`, 'after'],
      [`/${id}/events`, `after=${ofOther}`, 'after'],
      [`/${id}/checkpoints`, 'after=nonsense', 'after'],
      [`/${id}/samples`, 'after=nonsense', 'after'],
      [`/${id}/samples`, 'after=', 'after'],
      [`/${id}/samples`, 'after=-1', 'after'],
      [`/${id}/samples`, 'step=3', 'step'],
      ['', 'metadatax=1', 'metadatax'],
      ['', 'metadata[]=1', 'metadata'],
      ['', `metadata[${'k'.repeat(65)}]=1`, `metadata[${'k'.repeat(55)}`],
      ['', 'metadata=null&metadata[a]=1', 'metadata'],
      ['', 'after=nonsense', 'after'],
      ['', `after=ftjob-${'f'.repeat(24)}`, 'after'],
    ]) {
      const response = await app.request(`/v1/fine_tuning/jobs${list}?${query}`);
      const { error } = (await response.json()) as { error?: { param: string } };
      assert.deepEqual([response.status, error?.param], [400, param], `${list}?${query}`);
    }
  });
});

test('the samples of a job are listed by step, once each, even if its trainer dies', async () => {
  const { app, api, upload, ended, jobs } = await listen();
  jobs.worker.start();
  const training_file = await upload({ steps: 6, perEpoch: 2, samples: 0.1, dieAfter: [3, 5] });
  const { id } = await api.create({ model: 'toy', training_file });
  await ended(id);
  const list = async (query: string) => {
    const response = await app.request(`/v1/fine_tuning/jobs/${id}/samples?${query}`);
    return (await response.json()) as { data: FineTuningJobSamples[] };
  };
  const all = await list('limit=100');
  assert.deepEqual(pluck(all.data, 'step'), [6, 5, 4, 3, 2, 1]);
  const sample = { text: 'Blue.', tokens: 2, finish: 'stop', reward: 0.5, parts: { alike: 5 } };
  const prompts = [{ text: 'Which?', completions: [sample] }];
  assert.deepEqual(await list('after=6'), {
    object: 'list',
    data: [{ object: 'fine_tuning.job.samples', id: '5', step: 5, prompts }],
    first_id: '5',
    last_id: '5',
    has_more: true,
  });
  assert.equal((await list('after=1')).data.length, 0);
});

test('a job keeps the arithmetic that its request names, and names none otherwise', async () => {
  const { api, upload } = await listen();
  const training_file = await upload({ steps: 1 });
  const create = async (lorikeet?: object) => {
    const body = { model: 'base', training_file, ...(lorikeet && { lorikeet }) };
    const { id } = await api.create(body);
    return (await api.retrieve(id)) as unknown as { lorikeet: { compute?: string } };
  };
  assert.equal((await create({ compute: 'int8' })).lorikeet.compute, 'int8');
  assert.equal((await create()).lorikeet.compute, undefined);
});

test('a dry run answers the plan and makes no job', async () => {
  const { api, post, upload } = await listen();
  const training_file = await upload({ plan: { truncated: 2 } });
  const body = { model: 'base', training_file, lorikeet: { dry_run: true, rank: 4 } };
  const response = await post('/v1/fine_tuning/jobs', body);
  assert.deepEqual(await response.json(), {
    object: 'fine_tuning.job.plan',
    model: 'toy',
    training_file,
    validation_file: null,
    method: 'qlora',
    compute: 'float32',
    recommended_compute: 'int8',
    hyperparameters: { n_epochs: 3, batch_size: 8, learning_rate_multiplier: 1 },
    examples: 10,
    validation_examples: 0,
    tokens: 100,
    trained_tokens: 40,
    masked_share: 0.6,
    truncated: 2,
    max_length: 64,
    duplicates: 0,
    trained_parameters: 1000,
    total_steps: 4,
    steps_per_epoch: 2,
    learning_rate: 0.001,
    memory_bytes: 2 ** 20,
    seconds: 1,
    seconds_range: [0.5, 2],
    warnings: [],
    first_batch: [{ text: 'a', spans: [{ start: 0, end: 1, is_learned: true }] }],
  });
  assert.deepEqual((await api.list()).data, []);
});
