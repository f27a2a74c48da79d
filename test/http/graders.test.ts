// Graders through OpenAI's own client: every kind that this server has, errors of a run, and what is refused by name.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type OpenAI from 'openai';
import { Registry } from '../../adapters/registry/registry.ts';
import type { GraderRun } from '../../src/contracts/fine-tuning-api.ts';
import { PythonGraders } from '../../src/graders/python.ts';
import { connect } from './openai-client.ts';
import { assertRefused, serve, utf8 } from './served.ts';

const GRADED = '{"steps":[],"result":0.7}';
const served = serve({ adapters: ['alpha'], maxSeqLength: 512, reply: () => utf8(GRADED) });
const client = await connect(served);
const { graders } = client.fineTuning.alpha;
const opened = await PythonGraders.open('python3').catch((error: Error) => error);
const skip = opened instanceof Error && opened.message;

const check = {
  type: 'string_check',
  name: 'colour',
  input: '{{sample.output_text}}',
  reference: '{{item.colour}}',
  operation: 'eq',
} as const;
const similar = {
  type: 'text_similarity',
  name: 'alike',
  input: '{{sample.output_text}}',
  reference: '{{item.colour}}',
  evaluation_metric: 'fuzzy_match',
} as const;
const judge = {
  type: 'score_model',
  name: 'judge',
  model: 'alpha',
  input: [{ role: 'user', content: 'Is {{sample.output_text}} {{item.colour}}?' }],
} satisfies OpenAI.Graders.ScoreModelGrader;
const item = { colour: 'blue' };

test('a valid grader is answered as it was sent', async () => {
  for (const grader of [check, similar, judge]) {
    assert.deepEqual(await graders.validate({ grader }), { grader });
  }
  const listed = { type: 'multi', name: 'all', graders: [check], calculate_output: 'colour' };
  const grader = listed as unknown as OpenAI.Graders.MultiGrader;
  assert.deepEqual(await graders.validate({ grader }), { grader });
});

test('the models of a grader are looked up at the same time', async () => {
  let [running, most] = [0, 0];
  class Counting extends Registry {
    override async resolve(...given: Parameters<Registry['resolve']>) {
      most = Math.max(most, ++running);
      await setImmediate();
      running--;
      return super.resolve(...given);
    }
  }
  const base = { id: 'a', names: ['b', 'c'], digest: 'b'.repeat(64) };
  const counted = serve({ registry: new Counting({ base, local: [] }) });
  const judges = Object.fromEntries(
    ['a', 'b', 'c'].map((name) => [name, { ...judge, name, model: name }]),
  );
  const grader = { type: 'multi', name: 'all', graders: judges, calculate_output: 'a + b + c' };
  const response = await counted.post('/v1/fine_tuning/alpha/graders/validate', { grader });
  assert.equal(response.status, 200, await response.text());
  assert.equal(most, 3);
});

describe('a run', () => {
  test('of a string check is 1 or 0', async () => {
    for (const [operation, output, reward] of [
      ['eq', 'blue', 1],
      ['eq', 'Blue', 0],
      ['ne', 'Blue', 1],
      ['like', 'a blue one', 1],
      ['like', 'a Blue one', 0],
      ['ilike', 'a Blue one', 1],
    ] as const) {
      const grader = { ...check, operation };
      const run = await graders.run({ grader, item, model_sample: output });
      assert.equal(run.reward, reward, `${operation} ${output}`);
      assert.deepEqual(run.metadata.scores, { colour: reward });
      assert.deepEqual([run.metadata.name, run.metadata.type], ['colour', 'string_check']);
      assert.ok(Object.values(run.metadata.errors).every((error) => !error));
    }
  });

  test('of a similarity is between 0 and 1, also of embeddings', async () => {
    const near = await graders.run({ grader: similar, item, model_sample: 'blues' });
    assert.equal(near.reward, 8 / 9);
    const cosine = { ...similar, evaluation_metric: 'cosine' } as const;
    const same = await graders.run({ grader: cosine, item, model_sample: 'blue' });
    assert.ok(Math.abs(same.reward - 1) < 1e-6);
    const other = await graders.run({ grader: cosine, item, model_sample: 'zzzz' });
    assert.ok(other.reward < 1);
    for (const [output, colour, reward] of [
      ['', 'blue', 0],
      ['blue', '', 0],
      ['', '', 1],
    ] as const) {
      const run = await graders.run({ grader: cosine, item: { colour }, model_sample: output });
      assert.equal(run.reward, reward);
      assert.ok(Object.values(run.metadata.errors).every((error) => !error));
    }
  });

  test('of a model is its result within the range, with its tokens', async () => {
    const run = await graders.run({ grader: judge, item, model_sample: 'sky' });
    assert.equal(run.reward, 0.7);
    assert.equal(run.metadata.sampled_model_name, 'alpha');
    assert.ok(run.metadata.token_usage! > GRADED.length);
    assert.deepEqual(run.model_grader_token_usage_per_model, { alpha: run.metadata.token_usage });
    const clamped = { ...judge, range: [2, 5] };
    const low = await graders.run({ grader: clamped, item, model_sample: 'sky' });
    assert.equal(low.reward, 2);
  });

  test('of several is their formula', async () => {
    const parts = { a: check, b: similar, c: judge };
    const grader = {
      type: 'multi',
      name: 'all',
      graders: parts as unknown as typeof check,
      calculate_output: '(a + b + c) / 3',
    } as const;
    const run = await graders.run({ grader, item, model_sample: 'blue' });
    assert.ok(Math.abs(run.reward - 2.7 / 3) < 1e-12);
    assert.deepEqual(run.sub_rewards, { a: 1, b: 1, c: 0.7 });
    const list = { ...grader, graders: [check, similar] as unknown as typeof check };
    const named = { ...list, calculate_output: 'min(colour, alike)' };
    assert.equal((await graders.run({ grader: named, item, model_sample: 'blue' })).reward, 1);
  });

  test('with an error scores 0 and reports it', async () => {
    const missing = await graders.run({ grader: check, item: {}, model_sample: 'blue' });
    assert.equal(missing.reward, 0);
    assert.equal(missing.metadata.errors.invalid_variable_error, true);
    const unknown = { ...judge, model: 'nobody' };
    const run = await graders.run({ grader: unknown, item, model_sample: 'blue' });
    assert.equal(run.metadata.errors.model_grader_server_error, true);
    assert.match(
      run.metadata.errors.model_grader_server_error_details!,
      /^judge: The model does not exist/,
    );
    for (const [input, output] of [
      ['{{sample.output_json.x}}', 'blue'],
      ['{{sample.output_json.x}}', '{"y": "blue"}'],
      ['{{sample.output_tools[0].function.name}}', 'blue'],
    ] as const) {
      const grader = { ...check, input };
      const { reward, metadata } = await graders.run({ grader, item, model_sample: output });
      assert.equal(reward, 0);
      assert.equal(metadata.errors.sample_parse_error, true);
      assert.equal(metadata.errors.invalid_variable_error, false);
    }
    const cut = { ...judge, sampling_params: { max_completions_tokens: 3 } };
    const short = await graders.run({ grader: cut, item, model_sample: 'blue' });
    assert.equal(short.metadata.errors.model_grader_parse_error, true);
  });
});

const python = {
  type: 'python',
  name: 'p',
  source: 'def grade(sample, item):\n    return sample["output_text"].count(item["colour"]) / 4',
  image_tag: '2025-05-08',
} as const;

test('a grader in Python runs if the operator allows it', { skip }, async () => {
  const allowing = serve({ python: opened as PythonGraders });
  const path = '/v1/fine_tuning/alpha/graders';
  const validated = await allowing.post(`${path}/validate`, { grader: python });
  assert.deepEqual(await validated.json(), { grader: python });
  const run = async (grader: object) => {
    const response = await allowing.post(`${path}/run`, { grader, model_sample: 'blue', item });
    assert.equal(response.status, 200);
    return (await response.json()) as GraderRun;
  };
  const { reward, metadata } = await run(python);
  assert.deepEqual([reward, metadata.type], [0.25, 'python']);
  assert.ok(Object.values(metadata.errors).every((error) => !error));
  const failed = await run({ ...python, source: 'def grade(sample, item):\n    return item["x"]' });
  assert.equal(failed.reward, 0);
  assert.equal(failed.metadata.errors['python_grader_runtime_error'], true);
  const details = "p: KeyError: 'x' (line 2)";
  assert.equal(failed.metadata.errors['python_grader_runtime_error_details'], details);
  for (const [source, message] of [
    ['def grade(sample, item) return 1', /^grader\.source: .*SyntaxError/s],
    ['import nothing_like_it', /^grader\.source: ModuleNotFoundError: .* \(line 1\)$/],
    ['x = 1', /defines no function grade/],
  ] as const) {
    const refused = await allowing.post(`${path}/validate`, { grader: { ...python, source } });
    await assertRefused(refused, { status: 400, param: 'grader.source', message });
  }
});

test('a grader in Python is refused by default, and the message names the setting', async () => {
  const listed = { type: 'multi', name: 'all', graders: [check, python], calculate_output: 'p' };
  for (const [grader, param] of [
    [python, 'grader.type'],
    [listed, 'grader.graders.p.type'],
  ] as const) {
    for (const [action, sample] of [
      ['validate', {}],
      ['run', { model_sample: 'blue', item }],
    ] as const) {
      const body = { grader, ...sample };
      const response = await served.post(`/v1/fine_tuning/alpha/graders/${action}`, body);
      const message = /--python-graders/;
      await assertRefused(response, { code: 'unsupported_parameter', param, message });
    }
  }
});

test('a wrong grader is refused with its field', async () => {
  const multi = { type: 'multi', name: 'all', graders: { a: check }, calculate_output: 'a' };
  const unreadable = { ...judge, model: 'alpha@7' };
  const faults: Record<string, [grader: object, param: string][]> = {
    invalid_request: [
      [{ ...check, operation: 'is' }, 'operation'],
      [{ ...check, input: '{{answer}}' }, 'input'],
      [{ ...check, input: '{{sample.answer}}' }, 'input'],
      [{ ...similar, evaluation_metric: 'x' }, 'evaluation_metric'],
      [{ ...judge, model: 'nobody' }, 'model'],
      [{ ...multi, graders: { a: judge, b: unreadable } }, 'graders.b.model'],
      [{ ...judge, range: [1, 0] }, 'range'],
      [{ ...python, source: '' }, 'source'],
      [{ type: 'magic' }, 'type'],
      [{ ...multi, calculate_output: 'a + b' }, 'calculate_output'],
      [{ ...multi, graders: [check, check] }, 'graders'],
      [{ ...multi, graders: {} }, 'calculate_output'],
      [{ ...multi, graders: [multi] }, 'graders[0].type'],
    ],
    unknown_parameter: [[{ ...check, note: 1 }, 'note']],
    unsupported_parameter: [
      [{ type: 'label_model', name: 'l' }, 'type'],
      [{ ...multi, graders: { a: { type: 'label_model' } } }, 'graders.a.type'],
    ],
  };
  const rows = Object.entries(faults).flatMap(([code, all]) =>
    all.map(([grader, field]) => ({ grader, code, param: `grader.${field}` })),
  );
  for (const { grader, code, param } of rows) {
    const response = await served.post('/v1/fine_tuning/alpha/graders/validate', { grader });
    await assertRefused(response, { code, param });
  }
});
