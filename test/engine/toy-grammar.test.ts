// Constrained answers of the committed base in f32: the real engine, scheduler and tokenizer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import { type Constraint, type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { PartialDecode } from '../../src/engine/batch.ts';
import { NgramProposer } from '../../src/scheduler/drafter.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { compiled } from '../grammar/compiled.ts';
import { FakeLeases } from '../scheduler/fake-engine.ts';
import { generate, tokensOf } from '../scheduler/generate.ts';
import { ScriptedProposer, spoil } from '../scheduler/proposers.ts';
import { openToy } from './toy.ts';

const STOP = 3;
/** The toy's vocabulary has no double quote. */
const INTENT: Constraint = {
  kind: 'regex',
  pattern:
    'intent: (GetWeather|PlayMusic|BookRestaurant), city: [A-Z][a-z]{2,8}, party size: \\d{1,2}, outdoors: (yes|no)',
};
const ITEMS = [
  { const: true },
  { type: 'integer', minimum: 100, maximum: 120 },
  { type: 'boolean' },
];
const CONSTRAINTS: Constraint[] = [
  INTENT,
  { kind: 'json_schema', schema: { type: 'array', prefixItems: ITEMS, items: false, minItems: 3 } },
  { kind: 'json_schema', schema: { const: [1, 2, 3, [null, true, 12345]] } },
  { kind: 'choice', texts: ['the White Rabbit', 'the Queen of Hearts', 'the Cheshire Cat'] },
  { kind: 'regex', pattern: '[A-Z][a-z]{2,8} (was|is) \\d{2,4}\\.' },
];

test('a constrained answer is the same alone, among others, with drafts and with logprobs', async (t) => {
  const { engine, tokenizer, grammars } = await openToy(t, 8);
  const promptIds = tokenizer.encode('Alice was beginning to get very tired', { specials: false });
  const samplings = [
    GREEDY,
    { ...GREEDY, temperature: 1, topP: 0.9, seed: 5 },
    { ...GREEDY, temperature: 1.5, seed: 6, repetitionPenalty: 1.2, logitBias: new Map([[7, 3]]) },
  ];
  let forced = 0;
  for (const constraint of CONSTRAINTS) {
    for (const sampling of samplings) {
      const request = { promptIds, maxTokens: 120, stopTokenIds: [STOP], sampling };
      const one = (changes: object = {}) => ({
        request: { ...request, ...changes },
        matcher: grammars.createMatcher(compiled(constraint)),
      });
      const alone = await generate(engine, [one()]);
      const scored = { sampling: { ...sampling, topLogprobs: 2 } };
      const single = await generate(engine, [one(scored)]);
      const six = Array.from({ length: 6 }, () => one());
      const crowd = await generate(engine, [...six, one(scored)]);
      const proposer = new NgramProposer(promptIds);
      const drafted = await generate(engine, [{ ...one(), proposer }]);
      const wanted = tokensOf(alone.events[0]!);
      for (const { events } of [single, crowd, drafted]) {
        for (const own of events) assert.deepEqual(tokensOf(own), wanted);
      }
      assert.deepEqual(alone.events[0]!.at(-1), { type: 'finished', id: 1, reason: 'stop' });
      const text = tokenizer.decode(wanted, { skipSpecials: false });
      const again = grammars.createMatcher(compiled(constraint));
      for (const id of wanted) again.accept(id);
      assert.ok(again.canEnd, text);
      assert.equal(alone.stats.generatedTokens, wanted.length);
      assert.ok(alone.stats.steps <= wanted.length + 1 - alone.stats.forcedTokens);
      assert.equal(single.stats.forcedTokens, 0);
      forced += alone.stats.forcedTokens;
    }
  }
  assert.ok(forced > 100, `only ${forced} tokens were forced`);
});

test('forced text saves a third of the steps of an intent', async (t) => {
  const { engine, grammars } = await openToy(t, 1);
  const request = { promptIds: [1, 2, 3], maxTokens: 120, stopTokenIds: [STOP], sampling: GREEDY };
  const matcher = grammars.createMatcher(compiled(INTENT));
  const { stats } = await generate(engine, [{ request, matcher }]);
  assert.ok(
    stats.steps < stats.generatedTokens * (2 / 3),
    `${stats.steps} of ${stats.generatedTokens}`,
  );
});

test('max_tokens cuts forced text at any place', async (t) => {
  const { engine, tokenizer, grammars } = await openToy(t, 1);
  const constraint: Constraint = { kind: 'text', text: '{a rather long name: and a value}' };
  const sampling = GREEDY;
  const all: number[][] = [];
  for (let maxTokens = 1; maxTokens <= 30; maxTokens++) {
    const request = { promptIds: [1, 2, 3], maxTokens, stopTokenIds: [STOP], sampling };
    const { events } = await generate(engine, [
      { request, matcher: grammars.createMatcher(compiled(constraint)) },
    ]);
    const tokens = tokensOf(events[0]!);
    const last = events[0]!.at(-1)!;
    assert.ok(last.type === 'finished' && tokens.length <= maxTokens);
    assert.equal(last.reason === 'length', tokens.length === maxTokens && !isWhole(tokens));
    all.push(tokens);
  }
  function isWhole(tokens: number[]) {
    return tokenizer.decode(tokens, { skipSpecials: false }).endsWith('}');
  }
  const longest = all.at(-1)!;
  for (const tokens of all) assert.deepEqual(tokens, longest.slice(0, tokens.length));
  assert.ok(isWhole(longest));
});

test('F39: rows with drafts or forced tokens whose runs are terminated get the tokens that they have alone', async (t) => {
  const { engine, grammars } = await openToy(t, 4);
  const { vocabSize } = engine.info;
  const text = { kind: 'text', text: 'The Queen of Hearts was not in the garden. ' } as const;
  const ask = (i: number, constraint?: Constraint): GenerationRequest => ({
    promptIds: [5 + i, 7, 9],
    maxTokens: 40,
    stopTokenIds: [],
    sampling: { ...GREEDY, temperature: i / 4, seed: i },
    ...(constraint && { constraint: compiled(constraint) }),
  });
  const forced = [0, 1, 2, 3].map((i) =>
    ask(i, { kind: 'sequence', parts: [INTENT, text, INTENT] }),
  );
  const drafted = [0, 1].map((i) => ask(i));
  const alone = new Map<GenerationRequest, number[]>();
  const loop = new StepLoop({
    engine,
    adapters: new FakeLeases(),
    createProposer: (of) => new ScriptedProposer(spoil(alone.get(of) ?? [], 5, vocabSize)),
    createMatcher: async (constraint, added) => grammars.createMatcher(constraint, added),
  });
  const client = createInProcessClient(loop, createLog('silent'));
  t.after(() => client.drain(1000));
  const tokens = (of: GenerationRequest): Promise<number[]> => {
    const events: EngineEvent[] = [];
    return new Promise((resolve) => {
      client.submit(LOCAL_TENANT, undefined, of, (event) => {
        events.push(event);
        if (isTerminal(event)) resolve(tokensOf(events));
      });
    });
  };
  for (const one of [...forced, ...drafted]) alone.set(one, await tokens(one));

  let early = 0;
  let halfway = 0;
  const run = engine.run.bind(engine);
  let runs = 0;
  engine.run = async (batch) => {
    const running = run(batch);
    if (batch.kind === 'prefill' || batch.rows.length < 2) return running;
    let isOver = false;
    const note = (error?: unknown) => {
      isOver = true;
      const rows = error instanceof PartialDecode ? error.rows : [];
      if (rows.some((row) => row.length > 0)) halfway++;
      else if (error) early++;
    };
    running.then(() => note(), note);
    for (let turns = runs++ % 50; turns > 0 && !isOver; turns--) await nextTurn();
    if (!isOver) loop.handle({ type: 'terminate' });
    return running;
  };
  for (const requests of [forced, drafted]) {
    const before = halfway;
    for (let round = 0; round < 2 || (halfway === before && round < 20); round++) {
      const together = await Promise.all(requests.map(tokens));
      const wanted = requests.map((one) => alone.get(one));
      assert.deepEqual(together, wanted);
    }
    assert.ok(halfway > before, 'no run ended after some of its rows');
  }
  t.diagnostic(`${early} runs ended with no row complete, ${halfway} with some`);
});
