// The refusals of the fine-tuning API with status, code and field: bad bodies, unsupported features, other tenants' jobs and
// files, reused keys, and limits.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { StoreError } from '../../adapters/store/store.ts';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { listKeys, wrapStore } from '../adapters/store/wrapped-store.ts';
import { ACME, openServer, upload } from '../jobs/simulated.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, type Init, readError, readOk } from './served.ts';
import { serveJobs, toSide } from './with-jobs.ts';

const JOBS = '/v1/fine_tuning/jobs';
const LOCAL = 'local';

async function served(options: Parameters<typeof serveJobs>[0] = {}) {
  const all = serveJobs({ adapters: ['folder'], ...options });
  const training_file = await upload(all.jobs.files, {}, LOCAL);
  const create = (body: object, init: Init = {}) =>
    all.post(JOBS, { model: 'toy', training_file, ...body }, init);
  return { ...all, training_file, create };
}

const long = (length: number) => 'x'.repeat(length);
const supervised = (hyperparameters: object) => ({
  method: { type: 'supervised', supervised: { hyperparameters } },
});

const dpo = (hyperparameters: object) => ({ method: { type: 'dpo', dpo: { hyperparameters } } });

const GRADER = {
  ...{ type: 'string_check', name: 'equal', operation: 'eq' },
  ...{ input: '{{sample.output_text}}', reference: '{{item.wanted}}' },
};
const judge = (model: string) => ({
  ...{ type: 'score_model', name: 'judge', model },
  input: [{ role: 'user', content: 'Is {{sample.output_text}} right?' }],
});
const PYTHON = { type: 'python', name: 'p', source: 'grade = len' };
const several = (...models: string[]) => ({
  ...{ type: 'multi', name: 'all', calculate_output: 'g0' },
  graders: Object.fromEntries(models.map((model, i) => [`g${i}`, judge(model)])),
});
const rewarded = (hyperparameters: object, settings: object = {}) => ({
  validation_file: undefined,
  method: {
    type: 'reinforcement',
    reinforcement: { grader: GRADER, hyperparameters, ...settings },
  },
});
const graded = (grader: object | undefined) => rewarded({}, { grader });
const NO_SCHEMA = { schema: { $ref: '#/no' } };

const BAD_HYPERPARAMETERS: Record<string, unknown>[] = [
  { batch_size: 257 },
  { n_epochs: 51 },
  { compute_multiplier: 1e-5 },
  { compute_multiplier: 10.5 },
  { eval_interval: 0 },
  { eval_samples: 1.5 },
  { reasoning_effort: 'auto' },
  // Without validation rows, they would have no effect.
  { eval_interval: 2 },
  { eval_samples: 2 },
];

const inReinforcement = (field: string) => `method.reinforcement.${field}`;

type Refused = [body: object, param: string, code?: string];

/** The same as `BAD` for jobs that learn from rewards. */
const REINFORCEMENT: Refused[] = [
  [{ method: { type: 'reinforcement' } }, 'method.reinforcement'],
  [graded(undefined), inReinforcement('grader')],
  [graded({ ...GRADER, operation: 'is' }), inReinforcement('grader.operation')],
  [graded({ ...GRADER, input: '{{answer.x}}' }), inReinforcement('grader.input')],
  [graded(PYTHON), inReinforcement('grader.type'), 'unsupported_parameter'],
  ...['', 'gpt-4o-mini', 'ft:toy:rival:colours:abc'].map(
    (model): Refused => [graded(judge(model)), inReinforcement('grader.model')],
  ),
  [graded(several('toy', 'default', 'nobody')), inReinforcement('grader.graders.g2.model')],
  [rewarded({}, { response_format: { type: 'xml' } }), inReinforcement('response_format.type')],
  [
    rewarded({}, { response_format: { type: 'json_schema', json_schema: NO_SCHEMA } }),
    inReinforcement('response_format.json_schema.schema'),
  ],
  [rewarded({ beta: 1 }), inReinforcement('hyperparameters.beta'), 'unknown_parameter'],
  ...BAD_HYPERPARAMETERS.map((hyperparameters): Refused => {
    const [field] = Object.keys(hyperparameters);
    return [rewarded(hyperparameters), inReinforcement(`hyperparameters.${field}`)];
  }),
  [{ lorikeet: { completions: 4 } }, 'lorikeet.completions'],
];

/** Values that a field refuses by its own name. */
const BAD_VALUES: Record<string, unknown[]> = {
  suffix: ['', long(65), '../x', 'a/b', 'a\\b', 'a:b', 'a\u0000b', '---', 'base', 3],
  seed: [-1, 1.5, 2 ** 31],
  'hyperparameters.n_epochs': [0, 1e6, 1.5, 'all'],
  'hyperparameters.batch_size': [0, 257],
  'hyperparameters.learning_rate_multiplier': [0, -1, 'NaN', '1'],
  'lorikeet.method': ['x'],
  'lorikeet.loss': ['hinge', 'ipo'],
  'lorikeet.compute': ['int4'],
  'lorikeet.rank': [0, 513, 65], // --max-job-rank
  'lorikeet.alpha': [0],
  'lorikeet.dropout': [1],
  'lorikeet.dora': ['yes'],
  'lorikeet.lora_bias': [1],
  'lorikeet.train_head': ['all'],
  'lorikeet.modules_to_save': [[], ['embed_tokens']],
  'lorikeet.bias': ['some', 'all'],
  'lorikeet.init': ['svd'],
  'lorikeet.alora': ['', [10 ** 6]],
  'lorikeet.targets': [[], long(2049), Array(65).fill('q_proj'), ['../..'], '('],
  'lorikeet.ensure_weight_tying': [true],
  'lorikeet.gate.margin': ['x'],
  'lorikeet.dry_run': ['yes'],
};
const bodyWith = (path: string, value: unknown) =>
  path.split('.').reduceRight((inner: unknown, name) => ({ [name]: inner }), value) as object;

/** Body → field, and the code if it is not `invalid_request`. */
const BAD: Refused[] = [
  ...Object.entries(BAD_VALUES).flatMap(([field, values]) =>
    values.map((value): Refused => [bodyWith(field, value), field]),
  ),
  [{ model: undefined }, 'model'],
  [{ model: '' }, 'model', 'model_not_found'],
  [{ model: 'gpt-4o-mini' }, 'model', 'model_not_found'],
  [{ model: 'ft:toy:rival:colours:abc' }, 'model', 'model_not_found'],
  [{ model: 7 }, 'model'],
  [{ training_file: undefined }, 'training_file'],
  [{ training_file: 'file-none' }, 'training_file', 'not_found'],
  [{ training_file: '../acme/.files/x' }, 'training_file', 'not_found'],
  [{ validation_file: 'file-none' }, 'validation_file', 'not_found'],
  [{ metadata: { a: 1 } }, 'metadata.a'],
  [{ metadata: { [long(65)]: 'a' } }, 'metadata'],
  [{ metadata: { a: long(513) } }, 'metadata'],
  [{ metadata: Object.fromEntries([...Array(17).keys()].map((i) => [`k${i}`, ''])) }, 'metadata'],
  [supervised({ n_epochs: 51 }), 'method.supervised.hyperparameters.n_epochs'],
  [{ ...supervised({ n_epochs: 1 }), hyperparameters: { n_epochs: 2 } }, 'hyperparameters'],
  [supervised({ beta: 1 }), 'method.supervised.hyperparameters.beta', 'unknown_parameter'],
  ...[0, 2.5, '1'].map((beta): Refused => [dpo({ beta }), 'method.dpo.hyperparameters.beta']),
  [{ ...dpo({ beta: 1 }), hyperparameters: {} }, 'hyperparameters'],
  [{ method: { type: 'dpo' }, hyperparameters: {} }, 'hyperparameters'],
  [{ method: { type: 'dpo', supervised: {} } }, 'method.supervised'],
  [{ method: { type: 'supervised', dpo: {} } }, 'method.dpo'],
  [{ method: { type: 'dpo', dpo: { beta: 1 } } }, 'method.dpo.beta', 'unknown_parameter'],
  [{ ...dpo({}), lorikeet: { label_smoothing: 0.1 } }, 'lorikeet.label_smoothing'],
  [{ method: { type: 'supervised', x: 1 } }, 'method.x', 'unknown_parameter'],
  ...REINFORCEMENT,
  [{ method: { type: 'magic' } }, 'method.type'],
  [{ method: {} }, 'method.type'],
  [{ integrations: [{ type: 'wandb', wandb: {} }] }, 'integrations', 'unsupported_parameter'],
  ...['full', 'dora', 'lora'].map((method): Refused => {
    return [{ lorikeet: { method } }, 'lorikeet.method', 'unsupported_parameter'];
  }),
  [{ lorikeet: { alora: [1, -1] } }, 'lorikeet.alora[1]'],
  [{ lorikeet: { targets: [long(257)] } }, 'lorikeet.targets[0]'],
  [{ lorikeet: { gate: { limit: 1 } } }, 'lorikeet.gate.limit', 'unknown_parameter'],
  // Settings that contradict each other, or do not fit the base.
  [{ lorikeet: { dora: true, lora_bias: true } }, 'lorikeet.lora_bias'],
  [{ lorikeet: { alora: [5], bias: 'all' } }, 'lorikeet.bias'],
  [{ lorikeet: { alora: 'x', modules_to_save: ['norm'] } }, 'lorikeet.modules_to_save'],
  [{ lorikeet: { train_head: 'lora', dropout: 0.1 } }, 'lorikeet.dropout'],
  [{ lorikeet: { train_head: 'lora', targets: 'q' } }, 'lorikeet.train_head'],
  [{ lorikeet: { ranks: 4 } }, 'lorikeet.ranks', 'unknown_parameter'],
];

describe('a job’s body', () => {
  test('B65: is refused with the code and the field at fault, before anything is made', async () => {
    const { create, jobs } = await served();
    for (const [body, param, code = 'invalid_request'] of BAD) {
      const status = code.endsWith('not_found') ? 404 : 400;
      const shown = JSON.stringify(body).slice(0, 80);
      await assertRefused(await create(body), { status, code, param }, shown);
    }
    assert.deepEqual((await jobs.service.list(LOCAL, { limit: 10 })).items, []);
  });

  test('may leave out or null whatever is optional', async () => {
    const { create } = await served();
    const nulls = {
      suffix: null,
      seed: null,
      validation_file: null,
      metadata: null,
      method: null,
      hyperparameters: null,
      integrations: null,
      lorikeet: null,
    };
    for (const body of [
      {},
      nulls,
      { integrations: [] },
      { hyperparameters: { batch_size: null } },
    ]) {
      const job = await readOk<FineTuningJob>(await create(body));
      assert.ok(job.seed >= 0 && job.seed < 2 ** 31);
      assert.equal(job.user_provided_suffix, null);
      const auto = { n_epochs: 'auto', batch_size: 'auto', learning_rate_multiplier: 'auto' };
      assert.deepEqual(job.hyperparameters, auto);
    }
  });

  test('may name the base in each of its ways, and one published adapter', async () => {
    const { create, publish } = await served();
    await publish(LOCAL, 'zen');
    for (const model of ['toy', 'base', 'default']) {
      assert.equal((await readOk<FineTuningJob>(await create({ model }))).model, 'toy');
    }
    for (const model of ['zen', 'zen@1', 'zen:latest']) {
      assert.equal((await readOk<FineTuningJob>(await create({ model }))).model, model);
    }
    for (const model of ['zen+zen', '0.5*zen']) {
      await assertRefused(await create({ model }), { code: 'invalid_request', param: 'model' });
    }
  });
});

test('a grader may ask the base, and any adapter that a request may use', async () => {
  const { create, publish } = await served();
  await publish(LOCAL, 'zen');
  const grader = several('toy', 'default', 'zen@1', 'zen:latest', '0.5*zen');
  assert.equal((await create(graded(grader))).status, 200); // its rows have prompts
});

test('a job with a grader in Python is refused by name unless it trains where Python is allowed', async () => {
  const pythonGraders = 'python3';
  for (const [training, message] of [
    [{}, /type: python graders are off on this server\. .*--python-graders\.$/],
    [{ trainRunner: 'kubernetes' }, /type: python graders are off on this server/],
    [
      { trainRunner: 'kubernetes', pythonGraders },
      /type: python graders do not run in pods, .* \(--train-runner kubernetes\)\. Use .* other grader/,
    ],
  ] as const) {
    const { create } = await served({ training });
    const multi = { type: 'multi', name: 'm', graders: { p: PYTHON }, calculate_output: 'p' };
    for (const [grader, field] of [
      [PYTHON, 'grader.type'],
      [multi, 'grader.graders.p.type'],
    ] as const) {
      const response = await create(graded(grader));
      const refusal = { code: 'unsupported_parameter', param: inReinforcement(field), message };
      await assertRefused(response, { status: 400, ...refusal });
    }
  }
  const { create } = await served({ training: { pythonGraders } });
  assert.equal((await create(graded(PYTHON))).status, 200); // its rows have prompts
});

test('unsupported routes and fields are refused by name', async () => {
  const { app } = await served();
  const permissions = '/v1/fine_tuning/checkpoints/ft:toy:local::abc:ckpt-step-1/permissions';
  for (const [method, path] of [
    ['POST', permissions],
    ['GET', permissions],
    ['DELETE', `${permissions}/cp_1`],
  ] as const) {
    const response = await app.request(path, { method });
    await assertRefused(response, { status: 400, code: 'unsupported_parameter' });
  }
});

describe('a dry run', () => {
  test('refuses the same requests as creating a job', async () => {
    const { create } = await served();
    for (const [body, param, code = 'invalid_request'] of BAD) {
      const response = await create({ lorikeet: { dry_run: true }, ...body });
      if ('lorikeet' in body) continue; // replaces the wish for a dry run
      await assertRefused(response, { code, param }, JSON.stringify(body));
    }
  });

  test('of bad files is refused with the fault', async () => {
    const { create, jobs } = await served();
    const refusal = {
      code: 'invalid_n_examples',
      message: 'Training file has 3 example(s), but must have at least 10 examples',
      param: 'training_file',
    };
    const training_file = await upload(jobs.files, { refusal }, LOCAL);
    const response = await create({ training_file, lorikeet: { dry_run: true } });
    assert.equal(response.status, 400);
    const { code, message, param } = await readError(response);
    assert.deepEqual({ code, message, param }, refusal);
  });

  test('whose trainer was killed is a server error that can be retried', async () => {
    const { create, jobs } = await served();
    const training_file = await upload(jobs.files, { wordless: true }, LOCAL);
    const response = await create({ training_file, lorikeet: { dry_run: true } });
    assert.equal(response.status, 503);
    assert.ok(response.headers.get('retry-after'));
  });

  test('beyond those that are under way is refused', async () => {
    const { create } = await served();
    const all = await Promise.all([1, 2, 3, 4].map(() => create({ lorikeet: { dry_run: true } })));
    assert.deepEqual(all.map(({ status }) => status).sort(), [200, 200, 503, 503]);
  });
});

describe('an Idempotency-Key', () => {
  const keyed = (key: string) => ({ headers: { 'idempotency-key': key } });
  const idOf = async (response: Response) => (await readOk<FineTuningJob>(response)).id;

  test('T40: leads to the job of the first request, also of many at once', async () => {
    const { create, jobs } = await served();
    const all = await Promise.all(Array.from({ length: 6 }, () => create({ seed: 1 }, keyed('k'))));
    const ids = new Set(await Promise.all(all.map(idOf)));
    assert.equal(ids.size, 1);
    assert.notEqual(await idOf(await create({ seed: 1 }, keyed('other'))), [...ids][0]);
    assert.equal((await jobs.service.list(LOCAL, { limit: 10 })).items.length, 2);
  });

  test('T40: of another request is refused; a day later it is free', async () => {
    let nowMs = Date.now();
    const { create } = await served({ server: { now: () => nowMs } });
    const first = await idOf(await create({ seed: 1 }, keyed('k')));
    const response = await create({ seed: 2 }, keyed('k'));
    await assertRefused(response, { status: 422, code: 'idempotency_key_reused' });
    nowMs += 24 * 3600 * 1000 + 1;
    assert.notEqual(await idOf(await create({ seed: 2 }, keyed('k'))), first);
  });

  test('is free after a request that failed', async () => {
    const { create } = await served({ server: { limits: { maxActive: 1 } } });
    const missing = await create({ training_file: 'file-none' }, keyed('k'));
    assert.equal(missing.status, 404);
    const first = await idOf(await create({ seed: 1 }, keyed('k')));
    const crowded = await create({ seed: 2 }, keyed('other'));
    assert.equal(crowded.status, 429);
    assert.equal((await create({ seed: 3 }, keyed('other'))).status, 429, 'and not 422');
    assert.equal(
      await idOf(await create({ seed: 1 }, keyed('k'))),
      first,
      'though there is no room',
    );
  });

  test('whose job could not be written is free for another request a minute later', async () => {
    let nowMs = Date.now();
    let isFull = true;
    const store = wrapStore(createMemoryStore(), async (work, call) => {
      const isRefused = isFull && call.startsWith('put ') && call.endsWith('/job.json');
      if (isRefused) throw new StoreError('denied', 'the test says so');
      return work();
    });
    const { create } = await served({ store, server: { now: () => nowMs } });
    assert.equal((await create({ seed: 1 }, keyed('k'))).status, 503);
    isFull = false;
    const busy = await create({ seed: 2 }, keyed('k'));
    assert.equal(busy.status, 503, 'the first may still be on its way');
    nowMs += 61_000;
    const made = await idOf(await create({ seed: 2 }, keyed('k')));
    assert.equal((await create({ seed: 1 }, keyed('k'))).status, 422);
    assert.equal(await idOf(await create({ seed: 2 }, keyed('k'))), made);
  });

  test('is removed from the store when it has expired', async () => {
    let nowMs = Date.now();
    const store = createMemoryStore();
    const { create } = await served({ store, server: { now: () => nowMs } });
    const uses = async () => (await listKeys(store, `${LOCAL}/.idempotency/`)).length;
    for (const key of ['a', 'b', 'c']) await idOf(await create({}, keyed(key)));
    assert.equal(await uses(), 3);
    nowMs += 24 * 3600 * 1000 + 60_000;
    await idOf(await create({}, keyed('d')));
    assert.equal(await uses(), 1);
  });

  test('that is too long is refused', async () => {
    const { create } = await served();
    const refused = await create({}, keyed(long(256)));
    await assertRefused(refused, { code: 'invalid_request', param: 'Idempotency-Key' });
  });
});

test('a tenant with too many jobs must wait', async () => {
  const { create } = await served({ server: { limits: { maxActive: 1 } } });
  assert.equal((await create({})).status, 200);
  const response = await create({});
  assert.equal(response.headers.get('retry-after'), '60');
  await assertRefused(response, { status: 429, code: 'rate_limit_exceeded' });
});

describe('a tenant', () => {
  async function tenants() {
    const jobs = openServer();
    const keyed = serveKeyed({
      tenants: { acme: {}, rival: {}, narrow: { allowedAdapters: ['paint-*'] } },
      admins: ['rival'],
      jobs: toSide(jobs),
    });
    const training_file = await upload(jobs.files, {}, ACME.id);
    const body = { model: 'toy', training_file };
    const job = await readOk<FineTuningJob>(await keyed.ask('acme', JOBS, body));
    return { ...keyed, jobs, job, body };
  }

  test('cannot tell another’s job from one that is not there, be it an admin', async () => {
    const { ask, job, jobs } = await tenants();
    const unknown = `ftjob-${'0'.repeat(24)}`;
    for (const [path, method] of [
      ['', 'GET'],
      ['/events', 'GET'],
      ['/checkpoints', 'GET'],
      ['/cancel', 'POST'],
      ['/pause', 'POST'],
      ['/resume', 'POST'],
    ] as const) {
      const answers = await Promise.all(
        [job.id, unknown].map(async (id) => {
          const response = await ask('rival', `${JOBS}/${id}${path}`, undefined, { method });
          const text = (await response.text()).replaceAll(id, 'ID');
          return [response.status, text];
        }),
      );
      assert.deepEqual(answers[0], answers[1], path);
      assert.equal(answers[0]![0], 404);
    }
    const { data } = await readOk<{ data: unknown[] }>(await ask('rival', JOBS));
    assert.deepEqual(data, []);
    assert.equal((await jobs.get(job)).status, 'validating_files');
  });

  test('B65: cannot train on another’s file', async () => {
    const { ask, body } = await tenants();
    const answers = await Promise.all(
      [body.training_file, 'file-none'].map(async (training_file) => {
        const response = await ask('rival', JOBS, { ...body, training_file });
        return (await response.text()).replaceAll(training_file, 'ID');
      }),
    );
    assert.equal(answers[0], answers[1]);
    assert.match(answers[0]!, /"param":"training_file"/);
  });

  test('cannot train an adapter that it may not name', async () => {
    const { ask, jobs } = await tenants();
    const training_file = await upload(jobs.files, {}, 'narrow');
    const body = { model: 'toy', training_file };
    for (const suffix of ['colours', undefined]) {
      const refused = await ask('narrow', JOBS, { ...body, suffix });
      await assertRefused(refused, { code: 'invalid_request', param: 'suffix' });
    }
    await readOk(await ask('narrow', JOBS, { ...body, suffix: 'Paint-red' }));
  });

  test('without a key learns nothing', async () => {
    const { app, job } = await tenants();
    for (const path of [JOBS, `${JOBS}/${job.id}`, `${JOBS}/${job.id}/events`]) {
      assert.equal((await app.request(path)).status, 401);
    }
  });
});
