// What a run leaves is measured before it is published: each gate refuses what it must, by its number, and a good adapter
// passes. Runs on the toy base.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { type Figures, judgeGates } from '../../trainer/evaluation/gates.ts';
import { GateError, toFault } from '../../trainer/run/faults.ts';
import { pluck } from '../pluck.ts';
import {
  cardOf,
  evaluateFiles,
  questions,
  refusing,
  runToy,
  stepsOf,
  type ToyRun,
  writeRows,
} from './toy-runs.ts';

const ANSWER = 'It is blue.';
const good = (t: TestContext) => ({
  data: writeRows(t, questions(32, ANSWER)),
  validation: writeRows(t, questions(8, ANSWER, 100)),
});

const typesOf = ({ messages }: ToyRun) =>
  messages.map((message) => (message.type === 'event' ? message.code : message.type));

test('a good adapter passes every gate and is published with its card', async (t) => {
  const run = await runToy(t, { ...good(t), name: 'blue' });
  assert.equal(run.error, undefined);
  const card = cardOf(run);
  assert.deepEqual(
    card.gates.map(({ gate }) => gate),
    ['finite', 'weights', 'applied', 'validation', 'generation', 'forgetting'],
  );
  assert.deepEqual([refusing(card), card.skipped], [[], []]);
  assert.equal(card['validation_examples'], 8);
  assert.ok(Number(card['validation_loss']) < 0.1 && Number(card['base_validation_loss']) > 4);
  assert.deepEqual(run.published[0]?.evaluation, card);
  assert.deepEqual(typesOf(run).slice(-5), [
    ...['card', 'evaluated', 'published', 'succeeded', 'trained'],
  ]);
});

/** Job → the gates that refuse what it makes, and what is said of the first. */
type Bad = readonly [
  what: string,
  job: (t: TestContext) => Record<string, unknown>,
  gates: readonly string[],
  says: RegExp,
];

const BAD: readonly Bad[] = [
  [
    'a rate of 1 and no memory of gradients',
    (t) => ({ ...good(t), learningRate: 1, betas: [0.9, 0] }),
    ['weights'],
    /^gate weights: the largest weight is [\d.e+]+, the limit is 1000$/,
  ],
  [
    'an adapter that has learned nothing',
    (t) => ({ ...good(t), validation: undefined, learningRate: 1e-12 }),
    ['applied'],
    /^gate applied: it changes log-probabilities by 0 on average, not by more than 0.001$/,
  ],
  [
    'one that has learned its rows by heart',
    (t) => ({ ...good(t), validation: writeRows(t, questions(8, 'A horse runs far away.', 100)) }),
    ['validation'],
    /^gate validation: its validation loss is 5\.\d+, but must be below 4\.\d+ /,
  ],
  [
    'one that says one thing over and over',
    (t) => ({ data: writeRows(t, questions(32, 'a'.repeat(30))) }),
    ['generation', 'forgetting'],
    /^gate generation: 3 of its answers are empty or repeat one token; gate forgetting/,
  ],
  [
    'one that has forgotten its modelText',
    (t) => ({ data: good(t).data, epochs: 8, learningRate: 0.1 }),
    ['forgetting'],
    /^gate forgetting: the loss on plain English rises by \d\.\d+ nats, the limit is 1\.5$/,
  ],
];

for (const [what, job, gates, says] of BAD) {
  test(`T24: ${what} is refused by its gate and its number`, async (t) => {
    const run = await runToy(t, { ...job(t), name: 'bad' });
    assert.ok(run.error instanceof GateError, String(run.error));
    assert.match(run.error.message, says);
    assert.equal(toFault(run.error).code, 'gate_failed');
    assert.deepEqual(refusing(cardOf(run)), gates);
    assert.deepEqual(run.published, []);
    assert.ok(!typesOf(run).includes('trained'));
    assert.equal(typesOf(run).at(-1), 'failed');
    const kept = readdirSync(path.join(run.dir, 'snapshots'));
    assert.equal(kept.length, 3, 'its last epochs stay');
    for (const name of kept) {
      assert.ok(existsSync(path.join(run.dir, 'snapshots', name, 'adapter_model.safetensors')));
    }
  });
}

test('short outputs such as labels may be repeated or empty while their rows become more probable, and longer ones may not', async (t) => {
  const labeled = ['very', 'not'].flatMap((label) => questions(6, label));
  const job = { data: writeRows(t, labeled), epochs: 1, batchSize: 4, learningRate: 0.05 };
  const run = await runToy(t, job, { gate: false });
  const degenerateOf = ({ gates }: EvaluationCard) =>
    gates.find(({ gate }) => gate === 'generation')!.value;
  assert.equal(degenerateOf(cardOf(run)), 0);
  const files = await readAdapterFiles(path.join(run.dir, 'adapter'));
  const data = writeRows(t, questions(6, 'The Professor was a little girl.'));
  assert.equal(degenerateOf((await evaluateFiles(files, { data })).card), 3);
});

test('without gates the same is warned of, published, and said in its card', async (t) => {
  const job = { ...good(t), validation: undefined, learningRate: 1e-12, name: 'zeros' };
  const run = await runToy(t, job, { gate: false });
  assert.equal(run.error, undefined);
  assert.deepEqual(refusing(run.published[0]!.evaluation), ['applied']);
  const isWarning = (message: TrainerMessage) =>
    message.type === 'event' && message.level === 'warn' && message.code === 'gate_failed';
  assert.equal(run.messages.filter(isWarning).length, 1);
  assert.equal(typesOf(run).at(-1), 'trained');
});

test('a margin is asked for on top of the base, and without rows that gate is skipped', async (t) => {
  const eager = await runToy(t, good(t), { gate: { margin: 6 } });
  assert.deepEqual(refusing(cardOf(eager)), ['validation']);
  const strict = await runToy(t, good(t), { gate: { maxForgetting: 0.001 } });
  assert.deepEqual(refusing(cardOf(strict)), ['forgetting']);
  const { skipped } = cardOf(await runToy(t, { data: good(t).data }));
  assert.deepEqual(skipped, [{ gate: 'validation', reason: 'there are no validation rows' }]);
});

test('a run killed between its last step and its publication is measured the same again', async (t) => {
  const files = good(t);
  const whole = await runToy(t, { ...files, name: 'blue' });
  const killed = await runToy(t, { ...files, name: 'blue' }, { killAfter: stepsOf(whole).length });
  assert.match(String(killed.error), /killed/);
  const resumed = await runToy(t, { ...files, name: 'blue' }, { dir: killed.dir });
  assert.deepEqual(cardOf(resumed), cardOf(whole));
  assert.equal(typesOf(resumed).at(-1), 'trained');
});

const FINE: Figures = {
  classifies: false,
  nonFinite: 0,
  largestWeight: 1,
  change: 1,
  validation: { base: 2, adapter: 1 },
  degenerate: 0,
  text: { base: 3, adapter: 3 },
};

/** Figures at a gate's limit → whether it passes. */
const LIMITS: readonly (readonly [change: Partial<Figures>, gate: string, passes: boolean])[] = [
  [{ nonFinite: 1 }, 'finite', false],
  [{ largestWeight: 1000 }, 'weights', true],
  [{ largestWeight: 1000.1 }, 'weights', false],
  [{ change: 0.001 }, 'applied', false],
  [{ change: 0.0011 }, 'applied', true],
  [{ change: Number.NaN }, 'applied', false],
  [{ validation: { base: 2, adapter: 2 } }, 'validation', false],
  [{ validation: { base: 2, adapter: Number.NaN } }, 'validation', false],
  [{ degenerate: 1 }, 'generation', false],
  [{ text: { base: 3, adapter: 4.5 } }, 'forgetting', true],
  [{ text: { base: 3, adapter: 4.51 } }, 'forgetting', false],
  [{ text: { base: 3, adapter: Number.POSITIVE_INFINITY } }, 'forgetting', false],
];

test('an adapter with the highest reward need not gain anything over its base', () => {
  const same = { ...FINE, change: 0, validation: { base: -1, adapter: -1 } };
  const failed = (figures: Figures) => refusing(judgeGates(figures, {}) as EvaluationCard);
  assert.deepEqual(failed(same), ['applied', 'validation']);
  assert.deepEqual(failed({ ...same, isSolved: true }), []);
  const { skipped } = judgeGates({ ...same, isSolved: true }, {});
  assert.deepEqual(pluck(skipped, 'gate'), ['applied', 'validation']);
  assert.deepEqual(failed({ ...same, isSolved: true, change: Number.NaN }), ['applied']);
  assert.deepEqual(failed({ ...same, isSolved: true, degenerate: 1 }), ['generation']);
});

test('verdicts at the limits, all of them numbers that JSON knows', () => {
  assert.ok(judgeGates(FINE, {}).gates.every(({ passed }) => passed));
  for (const [change, gate, passes] of LIMITS) {
    const { gates } = judgeGates({ ...FINE, ...change }, {});
    assert.ok(gates.every(({ value, limit }) => Number.isFinite(value) && Number.isFinite(limit)));
    const verdict = gates.find((one) => one.gate === gate);
    assert.equal(verdict?.passed, passes, `${gate} ${JSON.stringify(change)}`);
  }
});
