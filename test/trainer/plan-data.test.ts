// A job's plan and a job's faults as programs get them.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { type JobSource, nameSettings, sourceNames } from '../../src/contracts/training-fields.ts';
import type { JobPlan, PlannedExample } from '../../src/contracts/training-messages.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { makePlan, type Plan } from '../../trainer/commands/plan.ts';
import { readModelText } from '../../trainer/data/encode-row.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { type PrepareOptions, prepareRun } from '../../trainer/job/prepare-run.ts';
import { toPlannedExample } from '../../trainer/planner/job-plan.ts';
import { gb, type recommend, recommendCompute } from '../../trainer/planner/method-memory.ts';
import { toFault } from '../../trainer/run/faults.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

const TOY = path.resolve('models/toy');

function rows(t: TestContext, lines: readonly (object | string)[]): string {
  const file = path.join(temporaryFolder(t), 'rows.jsonl');
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));
  writeFileSync(file, text.join('\n'));
  return file;
}

const chat = (...contents: string[]) => ({
  messages: contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content })),
});

interface Machine {
  memory?: number;
  samplingEngineBytes?: number;
}

async function planOf(json: Record<string, unknown>, machine?: Machine): Promise<JobPlan> {
  return (await wholePlanOf(json, machine)).job!;
}

async function wholePlanOf(
  json: Record<string, unknown>,
  { memory, samplingEngineBytes = 0, ...model }: Machine & { size?: string } = {},
): Promise<Plan> {
  const request = { job: { file: undefined, overrides: {} }, size: undefined, ...model };
  const sources = {
    json: { model: TOY, ...json },
    findModel: async (name: string) => name,
    checkJob: async () => {},
    samplingEngineBytes: () => samplingEngineBytes,
  };
  return makePlan({ ...request, configFile: undefined, memory }, sources);
}

const recommendationOf = ({ json }: Plan) => json['recommendation'] as ReturnType<typeof recommend>;

const EXACT = {
  ...{ type: 'string_check', name: 'short', operation: 'eq' },
  ...{ input: '{{sample.output_text}}', reference: 'Hi' },
};

const learned = ({ text, spans }: PlannedExample) =>
  spans.filter(({ isLearned }) => isLearned).map(({ start, end }) => text.slice(start, end));

test('a plan counts what will be trained, and shows the first batch with what is learned of it', async (t) => {
  const data = rows(t, [
    chat('What is the sky?', 'It is blue.', 'And the sea?', 'So is it.'),
    { prompt: 'one two', completion: ' three' },
    { text: 'a text' },
  ]);
  const plan = await planOf({ data, shuffle: false, batchSize: 4, epochs: 2, maxLength: 64 });
  const shown = plan.firstBatch.map(learned);
  assert.deepEqual(
    shown.slice(0, 2).map((texts) => texts.map((text) => text.replace(/<\/?\w+>|\n/g, '').trim())),
    [['It is blue.', 'So is it.'], ['three']],
  );
  assert.ok(shown[2]!.join('').includes('text'));
  for (const { text, spans } of plan.firstBatch) {
    assert.equal(spans.map(({ start, end }) => text.slice(start, end)).join(''), text);
    assert.ok(spans.every(({ start }, i) => start === (i === 0 ? 0 : spans[i - 1]!.end)));
    assert.ok(!spans[0]!.isLearned, 'nothing predicts the first token');
  }
  assert.equal(plan.examples, 3);
  assert.equal(plan.totalSteps, 2);
  assert.equal(plan.maskedShare, 1 - plan.trainedTokens / plan.tokens);
  assert.ok(plan.memoryBytes > 1e8);
  const [from, to] = plan.secondsRange;
  assert.ok(0 < from && from < plan.seconds && plan.seconds < to);
  assert.deepEqual(pluck(plan.warnings, 'code'), ['few_examples']);
});

test('the plan of a classifier names the classes, and shows the class of each text', async (t) => {
  const data = rows(t, [
    { text: 'red', label: 'colour' },
    { text: 'rice', label: 'food' },
    { text: 'blue', label: 'colour' },
  ]);
  const { labels, firstBatch } = await planOf({ data, shuffle: false, batchSize: 4 });
  assert.deepEqual(labels, ['colour', 'food']);
  const shown = firstBatch.map(({ text, label }) => [text.replace(/<\/?\w+>/g, '').trim(), label]);
  assert.deepEqual(shown.sort(), [
    ['blue', 'colour'],
    ['red', 'colour'],
    ['rice', 'food'],
  ]);
  const plain = await planOf({ data: rows(t, [{ text: 'a text' }]) });
  assert.equal(plain.labels, undefined);
  assert.equal(plain.firstBatch[0]!.label, undefined);
});

test('the text of an example is that of its tokens, wherever a character is cut', async () => {
  const modelText = (await readModelText(TOY))!;
  const { tokenizer } = modelText;
  const written = 'naïve 🙂 – 東京\uFEFF!';
  const ids = Int32Array.from(tokenizer.encode(written, { specials: false }));
  const whole = Buffer.concat(Array.from(ids, (id) => tokenizer.tokenBytes(id)));
  const expected = new TextDecoder('utf-8', { ignoreBOM: true }).decode(whole);
  for (let cut = 1; cut < ids.length; cut++) {
    const labels = ids.map((id, t) => (t < cut ? -1 : id));
    const { text, spans } = toPlannedExample({ ids, labels, weights: undefined }, modelText);
    assert.equal(text, expected);
    assert.equal(spans.at(-1)!.end, text.length);
  }
  const weights = new Float32Array(ids.length);
  const masked = toPlannedExample({ ids, labels: ids, weights }, modelText);
  assert.deepEqual(learned(masked), []);
  const numbers = { ids: Int32Array.of(5, 17, 6), labels: Int32Array.of(-1, 17, -1) };
  assert.deepEqual(toPlannedExample({ ...numbers, weights: undefined }, undefined), {
    text: '5 17 6 ',
    spans: [
      { start: 0, end: 2, isLearned: false },
      { start: 2, end: 5, isLearned: true },
      { start: 5, end: 7, isLearned: false },
    ],
  });
});

test('the recommended run takes as much as the plan says of the same run, and the engine that samples counts', async (t) => {
  const answered = rows(t, Array(12).fill(chat('What is the sky?', 'It is blue.')));
  const asked = rows(t, Array(12).fill(chat('What is the sky?')));
  const sampled = { objective: 'reinforcement', grader: EXACT, completionLength: 16 };
  const compute = recommendCompute('qlora');
  for (const [json, samplingEngineBytes] of [
    [{ data: answered, compute }, 0],
    [{ data: asked, compute, ...sampled }, 1e8],
  ] as const) {
    const plan = await wholePlanOf(json, { memory: 6e8, samplingEngineBytes });
    const { method, rank, bytes } = recommendationOf(plan);
    assert.deepEqual([method, rank, bytes], ['qlora', 16, plan.job!.memoryBytes]);
    assert.ok(plan.text.includes(`Needed   about ${gb(bytes)} (`), plan.text);
    assert.match(plan.text, /^More {5}memory buys: .*twice the --batch-size \(.* GB\), LoRA on/m);
    assert.ok(plan.text.includes(`it takes about ${gb(bytes)} of ${gb(6e8)}, which `), plan.text);
  }
});

test('a plan warns of a run that needs more memory than there is', async (t) => {
  const data = rows(t, Array(12).fill(chat('What is the sky?', 'It is blue.')));
  const planIn = async (memory: number) => (await wholePlanOf({ data }, { memory })).text;
  assert.match(
    await planIn(1e8),
    /^Warning {2}there are only 0\.10 GB .* may be killed; use smaller/m,
  );
  assert.doesNotMatch(await planIn(1e9), /may be killed/);
});

test('a recommended run fits although it keeps as many activations as its memory allows', async () => {
  for (const size of ['135M', '1.5B', '8B', '1T']) {
    const recommendIn = async (memory: number) =>
      recommendationOf(await wholePlanOf({ batchSize: 1 }, { memory, size }));
    const least = (await recommendIn(1)).bytes;
    for (const share of [0.75, 0.8, 0.85, 0.89]) {
      assert.match((await recommendIn(least / share)).reason, /which fits/, `${size}, ${share}`);
    }
  }
});

test('a plan without rows estimates the largest batches of its settings on this machine', async () => {
  const bytesOf = async (settings: object, size = '7.4B') => {
    const plan = await wholePlanOf({ ...settings }, { memory: 25e9, size });
    return recommendationOf(plan).bytes;
  };
  const one = await bytesOf({ batchSize: 1, maxLength: 512 });
  assert.ok(one > 8e9 && one < 25e9, String(one));
  assert.ok((await bytesOf({ batchSize: 8, maxLength: 512 })) > one + 1e9);
  assert.ok((await bytesOf({ batchSize: 1, maxLength: 2048 })) > one + 1e9);
  assert.ok((await bytesOf({ batchSize: 1, maxLength: 512 }, '9B')) > one + 1e9);
});

async function faultOf(job: Record<string, unknown>, options?: PrepareOptions) {
  const artifact = readArtifact(TOY);
  try {
    await prepareRun(parseJob({ model: TOY, ...job }), artifact, options);
  } catch (error) {
    return toFault(error);
  } finally {
    artifact.tensors.close();
  }
  return undefined;
}

test('bad lines are data: code, field, the first ten line numbers', async (t) => {
  const good = chat('a', 'b');
  const bad = [good, '', '{"text":}', { messages: [{ role: 'clown', content: 'a' }] }];
  assert.deepEqual(await faultOf({ data: rows(t, bad) }), {
    code: 'invalid_training_file',
    message:
      'The training file rows.jsonl is invalid. Line 3: is not JSON. Line 4: messages[0].role: is not one of system, developer, user, assistant, tool.',
    param: 'training_file',
    lines: [3, 4],
  });
  const many = await faultOf({ data: rows(t, [good]), validation: rows(t, Array(30).fill('"')) });
  const { message, ...fault } = many!;
  assert.match(
    message,
    /validation file \S+ is invalid. It has 30 bad lines; the first 10: Line 1: /,
  );
  const lines = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  assert.deepEqual(fault, { code: 'invalid_training_file', param: 'validation_file', lines });
  const masked = { messages: [{ role: 'assistant', content: 'a', weight: 0 }] };
  const nothing = await faultOf({ data: rows(t, [good]), validation: rows(t, [masked]) });
  assert.match(nothing!.message, /^The validation file \S+ is invalid\. It has nothing/);
  assert.equal(nothing!.param, 'validation_file');
});

test('a least number of examples is the request’s, in OpenAI’s words', async (t) => {
  const data = rows(t, [chat('a', 'b'), chat('c', 'd'), chat('e', 'f')]);
  assert.deepEqual(await faultOf({ data }, { minExamples: 10 }), {
    code: 'invalid_n_examples',
    message: 'Training file rows.jsonl has 3 example(s), but must have at least 10 examples',
    param: 'training_file',
  });
  assert.equal(await faultOf({ data }, { minExamples: 3 }), undefined);
  assert.equal(await faultOf({ data }), undefined);
});

test('a validation split of one row is refused, since nothing would be left to train on', async (t) => {
  const data = rows(t, [chat('a', 'b')]);
  const fault = await faultOf({ data, validationSplit: 0.5 });
  assert.match(
    fault!.message,
    /^validationSplit: needs two rows, .* rows\.jsonl has one\. Add rows/,
  );
  assert.equal(await faultOf({ data }), undefined);
  const two = rows(t, [chat('a', 'b'), chat('c', 'd')]);
  assert.equal(await faultOf({ data: two, validationSplit: 0.5 }), undefined);
});

test("a setting's fault names the field as the API calls it", () => {
  const paramOf = (fault: string) => toFault(new ConfigError([fault])).param;
  assert.equal(paramOf('batchSize: must be at least 1'), 'hyperparameters.batch_size');
  assert.equal(paramOf('rankPattern.q_proj: must be a number'), 'rankPattern');
  assert.equal(
    paramOf('modulesToSave[0]: no norm of the model ends in it'),
    'lorikeet.modules_to_save',
  );
  assert.equal(paramOf('data: is missing'), 'training_file');
  assert.equal(paramOf('something without a key'), null);
});

test('a message names settings as the user gave them: fields, flags, or keys of a job file', () => {
  const faults = [
    'loraBias: cannot be combined with dora',
    'modulesToSave[1]: no norm ends in "x". There is trainHead (trainEmbeddings).',
    'rankPattern.q: needs 3',
  ];
  const names = (source: JobSource) =>
    nameSettings(faults.join('\n'), sourceNames(source)).split('\n');
  assert.deepEqual(names({ file: undefined, overrides: {}, isFromApi: true }), [
    'lorikeet.lora_bias: cannot be combined with lorikeet.dora',
    'lorikeet.modules_to_save[1]: no norm ends in "x". There is lorikeet.train_head (lorikeet.train_embeddings).',
    'rankPattern.q: needs 3',
  ]);
  const overrides = { loraBias: true, trainHead: 'full' };
  assert.deepEqual(names({ file: 'job.json', overrides }), [
    '--lora-bias: cannot be combined with dora',
    'modulesToSave[1]: no norm ends in "x". There is --train-head (trainEmbeddings).',
    'rankPattern.q: needs 3',
  ]);
  const [, second] = names({ file: undefined, overrides: {} });
  assert.match(second!, /^--modules-to-save\[1\].* --train-head /);
});

test('a grader that names a value of no row is a fault of the job', async (t) => {
  const prompt = chat('Hi');
  const job = { data: rows(t, [{ ...prompt, slots: { answer: 'a' } }, prompt]) };
  const check = { type: 'string_check', name: 'right', operation: 'eq', reference: 'a' };
  const graderOf = (input: string) => ({
    objective: 'reinforcement',
    grader: { type: 'multi', name: 'm', graders: [{ ...check, input }], calculate_output: 'right' },
  });
  assert.equal(await faultOf({ ...job, ...graderOf('{{item.slots.answer}}') }), undefined);
  assert.deepEqual(await faultOf({ ...job, ...graderOf('{{item.slots.anwser}}') }), {
    code: 'invalid_request',
    message: 'grader: names {{item.slots.anwser}}, which no training row has',
    param: 'method.reinforcement.grader',
  });
});

test('a run that learns from rewards counts the engine that samples, and is refused if they do not fit together', async (t) => {
  const data = rows(t, Array(12).fill(chat('Hi')));
  const job = { data, objective: 'reinforcement', grader: EXACT, completionLength: 16 };
  const [alone, together] = [await planOf(job), await planOf(job, { samplingEngineBytes: 1e9 })];
  assert.equal(together.memoryBytes, alone.memoryBytes + 1e9);
  const memory = alone.memoryBytes + 5e8;
  assert.equal((await planOf(job, { memory })).memoryBytes, alone.memoryBytes);
  await assert.rejects(planOf(job, { memory, samplingEngineBytes: 1e9 }), {
    name: 'ConfigError',
    message:
      /^completions: training takes about .* samples 64 completions of up to \d+ tokens together/,
  });
});
